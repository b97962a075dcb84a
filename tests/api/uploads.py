"""An upstream of the tests' own that takes bodies piece by piece, and a client that sends them so."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httptools
import trio

from tests.stack import RealStack, config
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.serving import serve
from trio_router.server.accept import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio_router.api.app import RouterApp

PROVIDERS = """
providers:
  open:
    base_url: http://upstream/v1
    api_key: sk-upstream-secret
    models: {tts: {upstream_model: tts-1}, whisper: {upstream_model: whisper-1}, any: {}}
  claude: {dialect: anthropic, base_url: "http://upstream/v1"}
"""
BOUNDARY = "----tests"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    extra = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def answer(body: bytes, status: int = 200, kind: str = "application/json", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def json_answer(value: object, status: int = 200) -> bytes:
    return answer(json.dumps(value).encode(), status)


class Seen:
    """A request as it comes in; its body is kept up to a megabyte, and counted."""

    def __init__(self, stream: trio.abc.Stream, note: Callable[[], None]) -> None:
        self.stream = stream
        self._note = note
        self.method = self.path = ""
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.size = 0
        self.has_head = self.is_complete = self.was_left = False
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.method = self._parser.get_method().decode()
        self.has_head = True

    def on_body(self, data: bytes) -> None:
        self.size += len(data)
        if len(self.body) < 1 << 20:
            self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True

    async def read(self) -> bool:
        """One read; False if the other side has left."""
        try:
            data = await self.stream.receive_some(65536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self.was_left = True
            return False
        self._parser.feed_data(bytes(data))
        self._note()
        return True

    async def read_all(self) -> None:
        while not self.is_complete and await self.read():
            pass


class Upstream:
    """`answer(seen)` is awaited for each request, whose body it reads as it likes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.left = trio.Event()
        self.changed = trio.Event()  # something has come in
        self.answer = self.whole
        self.says = json_answer({"text": "hello"})

    async def silent(self, seen: Seen) -> None:
        await trio.sleep_forever()

    async def until(self, condition: Callable[[], object]) -> None:
        """Until it is true of what has come in."""
        with trio.fail_after(5):
            while not condition():
                await self.changed.wait()

    def note(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def whole(self, seen: Seen) -> None:
        await seen.read_all()
        await seen.stream.send_all(self.says)

    async def handle(self, stream: trio.abc.Stream) -> None:
        try:
            while True:
                seen = Seen(stream, self.note)
                while not seen.has_head:
                    if not await seen.read():
                        return
                self.seen.append(seen)
                self.note()
                try:
                    await self.answer(seen)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    seen.was_left = True
                if seen.was_left:
                    self.left.set()
                    return
        finally:
            await trio.aclose_forcefully(stream)


class UploadStack(RealStack):
    def __init__(self, app: RouterApp, upstream: Upstream, url: str) -> None:
        super().__init__(app, upstream, url)
        self.peer = upstream
        self.connections: list[trio.SocketStream] = []

    async def connect(self) -> trio.SocketStream:
        """A raw connection to the router, closed with the stack."""
        host, port = self.url.removeprefix("http://").split(":")
        self.connections.append(await trio.open_tcp_stream(host, int(port)))
        return self.connections[-1]


@asynccontextmanager
async def upload_stack(settings: str = "", providers: str = PROVIDERS) -> AsyncIterator[UploadStack]:
    async with trio.open_nursery() as nursery:
        upstream = Upstream()
        listeners = await nursery.start(partial(trio.serve_tcp, upstream.handle, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        where = providers.replace("http://upstream", f"http://127.0.0.1:{port}")
        app = application(Router(config(settings, where)))
        urls = await nursery.start(
            partial(serve, app, bind("127.0.0.1", 0), shutdown_trigger=trio.sleep_forever)
        )
        stack = UploadStack(app, upstream, urls[0])
        try:
            yield stack
        finally:
            nursery.cancel_scope.cancel()
            for connection in stack.connections:
                connection.socket.close()
            with trio.CancelScope(shield=True):
                await stack.client.aclose()


def head(path: str, length: int | None, kind: str = FORM, *more: str) -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-type: {kind}", size, *more]
    return "\r\n".join([*lines, "", ""]).encode()
