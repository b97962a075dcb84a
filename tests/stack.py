"""The whole router between a client and a scripted upstream, in memory or over real sockets.

In memory everything is exact under an autojump clock: the client is httpx over our own transport, its
connections end in the router's own server, the router's upstream connections in `DemoUpstream.handle`.
"""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import trio
import trio.testing

from trio_router.clock.clock import SYSTEM
from trio_router.config.file import parse_config
from trio_router.demo import DemoUpstream
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.serving import http_server, serve
from trio_router.server.accept import bind
from trio_router.transport import StreamTransport
from trio_router.transport.sockets import StreamWire
from trio_router.wire.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_router.api.app import RouterApp
    from trio_router.clock.clock import Clock
    from trio_router.config.schema import Config
    from trio_router.stores.interface import Store

PROVIDERS = """
providers:
  deepseek:
    base_url: http://upstream/v1
    api_key: sk-upstream-secret
    models: {chat: {upstream_model: echo}}
  any: {base_url: "http://upstream/v1"}
  ollama: {dialect: ollama, base_url: "http://upstream"}
"""


def config(text: str = "", providers: str = PROVIDERS) -> Config:
    return parse_config(f"{text}\n{providers}", {})


def chat(model: str, text: str = "Hello, world!", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


async def at_once(work: Any, *args: Any) -> Any:
    """In place of a thread, which a clock that jumps does not wait for."""
    await trio.lowlevel.checkpoint()
    return work(*args)


class _Socket:
    family = socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 2)


class ServerStream(trio.abc.HalfCloseableStream):
    """The server's end of a connection in memory, with the few things a server asks of a socket."""

    socket = _Socket()

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Stack:
    """A router in memory; `tight` gives connections that hold no byte that is not being read."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: Config,
        *,
        tight: bool = False,
        clock: Clock = SYSTEM,
        store: Store | None = None,
    ) -> None:
        self._nursery = nursery
        self._pair = trio.testing.lockstep_stream_pair if tight else trio.testing.memory_stream_pair
        self.host = "127.0.0.1"  # the router's own address, as connections have it
        self.upstream = DemoUpstream()
        self.router = Router(
            settings,
            make_transport=lambda: StreamTransport(
                connect=lambda host, port: self._to_upstream(host, port)
            ),
            in_thread=at_once,
            clock=clock,
            store=store,
        )
        self.app = application(self.router)
        self.client = self.new_client()

    def new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=StreamTransport(connect=self.connect), base_url="http://localhost", timeout=None
        )

    async def connect(self, host: str = "localhost", port: int = 80) -> trio.abc.Stream:
        """A raw connection to the router."""
        ours, theirs = self._pair()
        self._nursery.start_soon(self._serve, StreamWire(ServerStream(theirs)))
        return ours

    async def _serve(self, wire: StreamWire) -> None:
        server = http_server(self.router, self.app)
        first = await wire.receive()
        await server.handle_http1(wire, self.host, first)

    async def _to_upstream(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if host != "upstream":
            raise OSError(f"no route to {host}")
        ours, theirs = self._pair()
        self._nursery.start_soon(self.upstream.handle, theirs)
        return ours

    async def ask(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        """The whole answer to a chat request."""
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    @asynccontextmanager
    async def stream(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        body = {**body, "stream": True}
        async with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            yield response


@asynccontextmanager
async def memory_stack(
    settings: str = "",
    providers: str = PROVIDERS,
    *,
    tight: bool = False,
    clock: Clock = SYSTEM,
    store: Store | None = None,
) -> AsyncIterator[Stack]:
    async with trio.open_nursery() as nursery:
        made = config(settings, providers)
        stack = Stack(nursery, made, tight=tight, clock=clock, store=store)
        async with stack.router.running():
            yield stack
        nursery.cancel_scope.cancel()


class RealStack:
    """A router and a scripted upstream on real sockets of this machine."""

    def __init__(self, app: RouterApp, upstream: DemoUpstream, url: str) -> None:
        self.app, self.upstream, self.url = app, upstream, url
        self.router = app.router
        self.stop = trio.Event()
        self.stopped = trio.Event()
        self.client = httpx.AsyncClient(
            transport=StreamTransport(trust_env=False), base_url=url, timeout=30
        )


@asynccontextmanager
async def real_stack(
    settings: str = "", providers: str = PROVIDERS, port: int = 0
) -> AsyncIterator[RealStack]:
    async with trio.open_nursery() as nursery:
        upstream = DemoUpstream()
        upstream_port = await nursery.start(upstream.serve)
        where = providers.replace("http://upstream", f"http://127.0.0.1:{upstream_port}")
        app = application(Router(config(settings, where)))
        stop = trio.Event()
        serving = partial(serve, app, bind("127.0.0.1", port), shutdown_trigger=stop.wait)
        stopped = trio.Event()

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            await serving(task_status=task_status)
            stopped.set()

        urls = await nursery.start(run)
        stack = RealStack(app, upstream, urls[0])
        stack.stop, stack.stopped = stop, stopped
        try:
            yield stack
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await stack.client.aclose()


def events(body: bytes) -> list[Any]:
    """The data of a client's stream: JSON values, and "[DONE]"."""
    decoder = SSEDecoder(1 << 26)
    found = decoder.receive_data(body) + decoder.receive_eof()
    return ["[DONE]" if e.data == b"[DONE]" else json.loads(e.data) for e in found]


def text_of(items: list[Any], index: int = 0) -> str:
    """The text that the chunks of a stream say."""
    return "".join(
        choice["delta"].get("content") or ""
        for item in items
        if item != "[DONE]"
        for choice in item.get("choices", ())
        if choice.get("index", 0) == index and choice.get("delta")
    )
