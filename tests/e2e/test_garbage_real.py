"""Nothing of ours is left to the cyclic collector: over real sockets, encrypted and torn ones too."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.api.uploads import FORM, PROVIDERS as UPLOADING, form, part, upload_stack
from tests.chunks import SSE, delta
from tests.connections import (
    CHAT,
    everything,
    framed,
    leave,
    raw_client,
    streamed,
    until,
    until_still,
)
from tests.garbage import collected
from tests.stack import chat, real_stack
from trio_router.demo import Answer, sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.usefixtures("what_was_there_stands_aside")

LONG = framed(CHAT, chat("any/echo", "x" * 8_000_000))
TO = "providers: {{any: {{base_url: '{}', timeouts: {{{}}}}}}}"


async def nothing_of_ours_is_left_by(stack, scenario: Callable[[], Awaitable[None]]) -> None:
    await scenario()  # what is made once, at the first request
    await at_rest(stack)
    with collected() as garbage:
        for _ in range(2):
            await scenario()
        await at_rest(stack)
    assert not garbage.ours, str(garbage)


async def at_rest(stack) -> None:
    with trio.fail_after(10):
        while stack.router.engine.running:  # noqa: ASYNC110  nothing tells
            await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.05)


async def answered(connect: Callable[[], Awaitable[trio.abc.Stream]], request: bytes) -> bytes:
    connection = await connect()
    await connection.send_all(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    with trio.fail_after(10):
        got = await everything(connection)
    await connection.aclose()
    return got


@asynccontextmanager
async def listening(handle: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stage", ["waiting", "streaming", "blocked"])
async def test_a_client_that_leaves(stage, how):
    chunk = sse(delta("x" * 10_000), done=False)[0]

    def endless():
        while True:
            yield chunk

    async with real_stack() as stack:
        model = {"waiting": "any/echo-h0", "streaming": "any/echo-h1", "blocked": "any/m"}[stage]
        if stage == "blocked":
            stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())

        async def scenario() -> None:
            connection = await raw_client(stack)
            await connection.send_all(streamed(model))
            await stack.upstream.wait_open(1)
            if stage == "streaming":
                await until(connection, b"\n\n\r\n")
            elif stage == "blocked":
                await until_still(lambda: stack.upstream.sent_bytes)
            leave(connection, how)
            await stack.upstream.wait_open(0)

        await nothing_of_ours_is_left_by(stack, scenario)


@pytest.mark.parametrize("how", ["close", "reset", "early answer", "no reading", "stops within"])
async def test_an_upstream_that_does_not_take_the_request(how):
    async def handle(connection: trio.SocketStream) -> None:
        async with connection:
            if how == "no reading":
                await trio.sleep_forever()
            await connection.receive_some(100_000)
            if how == "early answer":
                await connection.send_all(b"HTTP/1.1 413 X\r\ncontent-length: 2\r\n\r\n{}")
                with suppress(trio.BrokenResourceError):
                    while await connection.receive_some():
                        pass
            elif how == "reset":
                leave(connection, "reset")
            elif how == "stops within":
                await connection.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}")

    async with listening(handle) as port:
        providers = TO.format(f"http://127.0.0.1:{port}/v1", "write: 0.2")
        async with real_stack(providers=providers) as stack:

            async def scenario() -> None:
                connect = partial(raw_client, stack)
                assert b'"error"' in await answered(connect, LONG)

            await nothing_of_ours_is_left_by(stack, scenario)


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "http://localhost:1", "http://nowhere.invalid"])
async def test_an_upstream_that_is_not_there(base):
    async with real_stack(providers=TO.format(base, "")) as stack:

        async def scenario() -> None:
            for is_stream in (False, True):
                request = framed(CHAT, chat("any/m", stream=is_stream))
                assert b"provider_network_error" in await answered(partial(raw_client, stack), request)

        await nothing_of_ours_is_left_by(stack, scenario)


class Two(trio.abc.HostnameResolver):
    """A host with two addresses."""

    async def getaddrinfo(self, host, port, *words):
        places = (("127.0.0.2", port), ("127.0.0.1", port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    async def getnameinfo(self, *words):
        raise NotImplementedError


async def test_an_upstream_at_a_name_with_several_addresses():
    """Nobody listens on the first; each answer that breaks off takes a connection with it."""
    trio.socket.set_custom_hostname_resolver(Two())
    async with real_stack() as inner:

        async def handle(connection: trio.SocketStream) -> None:
            await inner.upstream.handle(connection)

        async with listening(handle) as port:
            async with real_stack(providers=TO.format(f"http://two:{port}/v1", "")) as stack:

                async def scenario() -> None:
                    for _ in range(3):
                        connect = partial(raw_client, stack)
                        assert b"token0" in await answered(connect, streamed("any/echo-c9-x2"))

                await nothing_of_ours_is_left_by(stack, scenario)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_upstream_behind_tls(is_trusted, authority, server_context, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with real_stack() as inner:

        async def handle(connection: trio.SocketStream) -> None:
            secure = trio.SSLStream(connection, server_context, server_side=True, https_compatible=True)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await inner.upstream.handle(secure)

        async with listening(handle) as port:
            async with real_stack(providers=TO.format(f"https://127.0.0.1:{port}/v1", "")) as stack:

                async def scenario() -> None:
                    for model in ("any/echo", "any/echo-x2", "any/echo-x0"):
                        await answered(partial(raw_client, stack), streamed(model))
                    if is_trusted:
                        connection = await raw_client(stack)
                        await connection.send_all(streamed("any/echo-h1"))
                        await until(connection, b"\n\n\r\n")
                        leave(connection, "close")
                        await inner.upstream.wait_open(0)

                await nothing_of_ours_is_left_by(stack, scenario)


async def test_clients_behind_tls(authority, tmp_path):
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "all.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    settings = f"server: {{certfile: '{tmp_path}/all.pem', keyfile: '{tmp_path}/all.pem'}}"
    async with real_stack(settings) as stack:
        port = int(stack.url.rpartition(":")[2])

        async def connect() -> trio.SSLStream:
            plain = await trio.open_tcp_stream("127.0.0.1", port)
            return trio.SSLStream(plain, trusting, server_hostname="127.0.0.1", https_compatible=True)

        async def scenario() -> None:
            assert b"[DONE]" in await answered(connect, streamed("any/echo"))
            connection = await connect()
            await connection.send_all(streamed("any/echo-h1"))
            await until(connection, b"\n\n\r\n")
            leave(connection.transport_stream, "reset")
            await stack.upstream.wait_open(0)
            plain = await trio.open_tcp_stream("127.0.0.1", port)
            await plain.send_all(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(trio.BrokenResourceError):
                await plain.receive_some()
            await plain.aclose()
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()

        await nothing_of_ours_is_left_by(stack, scenario)


async def test_connections_that_ask_nothing_or_half():
    async with real_stack() as stack:

        async def scenario() -> None:
            for beginning in (b"", b"PRI * HT", b"POST /v1/chat/comp", b"GET / HTTP/1.1\r\nx"):
                for how in ("close", "reset"):
                    connection = await raw_client(stack)
                    if beginning:
                        await connection.send_all(beginning)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    leave(connection, how)

        await nothing_of_ours_is_left_by(stack, scenario)


@pytest.mark.parametrize("who", ["the client leaves", "the upstream answers"])
async def test_an_upload_that_is_held_back(who):
    size = 8_000_000
    body = form(part("model", b"open/whisper"), part("file", b"x" * size, "a.wav"))
    request = framed("/v1/audio/transcriptions", body, f"content-type: {FORM}")

    async with upload_stack(providers=UPLOADING) as stack:

        async def wait(seen) -> None:
            if who == "the upstream answers":
                await trio.testing.wait_all_tasks_blocked(0.05)
                await seen.stream.send_all(b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\n{}")
            seen.was_left = True
            with suppress(trio.BrokenResourceError):
                await trio.sleep(0.2)

        stack.peer.answer = wait

        async def scenario() -> None:
            connection = await raw_client(stack)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
            with trio.move_on_after(0.1):
                await connection.send_all(request)
            leave(connection, "close")
            await at_rest(stack)
            for seen in stack.peer.seen:
                del seen._parser  # it and its parser hold each other
            stack.peer.seen.clear()

        await nothing_of_ours_is_left_by(stack, scenario)
