"""Whatever a client sends, it is answered or closed; nothing hangs, leaks or is logged as a fault."""

from __future__ import annotations

import json
import logging
import re

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.stack import ServerStream, chat, memory_stack
from trio_router.serve.serving import http_server
from trio_router.transport.sockets import StreamWire

BODY = json.dumps(chat("any/echo")).encode()
STREAM = json.dumps(chat("any/echo-c2", stream=True)).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
TOKENS = [
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /v1/models/%ff%00%0a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    b"CONNECT h:1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    POST,
    POST + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    POST + b"content-length: %d\r\n\r\n%b" % (len(STREAM), STREAM),
    POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(STREAM), STREAM),
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n",
    b"expect: 100-continue\r\n",
    b"host: g\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"0\r\n\r\n",
    b"5;a=b\r\nhello\r\n",
    b"fffffffffffffffff\r\n",
    b"x" * 70_000,
    b"\x00",
    b"\xff",
    BODY,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
PIECES = st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=20)), max_size=12)
ANSWERS = re.compile(rb"HTTP/1\.1 [1-5]\d\d [A-Za-z -]+\r\n")


async def converse(pieces: list[bytes], pauses: list[int], *, ends: bool) -> bytes:
    """What the server says to `pieces`; it must end the connection by itself."""
    said = b""
    async with memory_stack() as stack:
        server = http_server(stack.router, stack.app)
        client, theirs = trio.testing.memory_stream_pair()
        ended = trio.Event()

        async def serve() -> None:
            wire = StreamWire(ServerStream(theirs))
            if first := await wire.receive():
                await server.handle_http1(wire, "127.0.0.1", first)
            ended.set()

        async def listen() -> None:
            nonlocal said
            try:
                async for data in client:
                    said += data
            except trio.ClosedResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(listen)
            try:
                for piece, pause in zip(pieces, pauses, strict=False):
                    await client.send_all(piece)
                    await trio.sleep(pause)
                await client.send_all(b"!")
                if ends:
                    await client.aclose()
            except trio.BrokenResourceError:
                pass
            with trio.fail_after(1 if ends else 300):
                await ended.wait()
            await client.aclose()
        assert not server.connections
        assert not stack.router.engine.running
    return said


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(PIECES, st.lists(st.sampled_from([0, 0, 0, 1, 10]), min_size=12, max_size=12), st.booleans())
def test_whatever_a_client_sends_it_is_answered_or_closed(caplog, pieces, pauses, ends):
    caplog.clear()
    clock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> bytes:
        return await converse(pieces, pauses, ends=ends)

    said = trio.run(main, clock=clock)
    assert not said or ANSWERS.match(said)
    assert b"HTTP/1.1 500 " not in said
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
