"""Under Hypercorn's own server, which some run themselves, what its seams allow holds too."""

from __future__ import annotations

import pytest
import trio

from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.connections import everything, post, until
from tests.server.stock_hypercorn import connect
from tests.stack import chat, events, memory_stack
from tests.websockets import SocketClient
from trio_router.demo import Answer, sse
from trio_router.observe.record import Outcome


async def test_the_end_of_a_response_is_not_taken_for_a_client_that_left(autojump_clock):
    """quart-trio alone cancels itself inside the last send, and the connection is never timed out."""
    async with memory_stack() as stack:
        booked = Booked(stack.router)
        connection = await connect(stack)
        for stream in (False, True, False):
            await connection.send_all(post(chat("any/echo", stream=stream)))
            await until(connection, b"[DONE]\n\n\r\n0\r\n\r\n" if stream else b'"total_tokens"')
            assert (await booked.next()).outcome == Outcome.COMPLETED
        began = trio.current_time()
        await everything(connection, within=100)
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)


async def test_a_stream_comes_through(autojump_clock):
    async with memory_stack() as stack:
        connection = await connect(stack)
        await connection.send_all(post(chat("any/echo", "👋🏽", stream=True)))
        got = await until(connection, b"0\r\n\r\n")
    assert "👋🏽".encode() in got
    assert b"data: [DONE]\n\n" in got


async def test_a_stuck_write_does_not_hold_the_upstream(autojump_clock):
    chunk = sse(delta("x" * 100), done=False)[0]

    def endless():
        while True:
            yield chunk

    async with memory_stack("timeouts: {stall: 20}", tight=True) as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())
        connection = await connect(stack)
        await connection.send_all(post(chat("any/m", stream=True)))
        await connection.receive_some(1000)
        began = trio.current_time()
        await stack.upstream.wait_closed_early()
        assert trio.current_time() - began == pytest.approx(20, abs=0.01)
        await connection.aclose()  # Hypercorn's shielded write ends with its reader alone


async def test_a_client_that_leaves_is_noticed(autojump_clock):
    async with memory_stack() as stack:
        booked = Booked(stack.router)
        connection = await connect(stack)
        await connection.send_all(post(chat("any/echo-h1", stream=True)))
        assert events((await until(connection, b"\n\n\r\n")).partition(b"\r\n\r\n")[2])
        await connection.aclose()
        await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/healthz", 200, None),
        ("HEAD", "/v1/models", 200, None),
        ("GET", "/nothing", 404, None),
        ("PUT", "/v1/models", 405, "GET, HEAD"),
    ],
)
async def test_the_same_table_answers(method, path, status, allow, autojump_clock):
    async with memory_stack() as stack:
        connection = await connect(stack)
        asked = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        await connection.send_all(asked.encode())
        head, _, body = (await everything(connection, within=100)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status)
        assert bool(body) is (method != "HEAD")
        assert allow is None or f"allow: {allow}".encode() in head


async def test_a_websocket_is_refused_so_that_its_client_goes_on_over_http(autojump_clock):
    async with memory_stack() as stack:
        client = SocketClient(await connect(stack))
        with trio.fail_after(5):
            assert await client.open() == 426
        assert b"upgrade_required" in client.body
        await client.stream.aclose()
