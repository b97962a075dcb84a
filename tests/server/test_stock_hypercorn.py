"""Under Hypercorn's own server, which some run themselves, what its seams allow holds too."""

from __future__ import annotations

import pytest
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState

from tests.api.test_requests import until
from tests.relay.test_disconnect import Booked
from tests.relay.test_streams import SSE, delta
from tests.relay.test_timeouts import request_bytes
from tests.stack import ServerStream, chat, events, memory_stack
from trio_router.demo import Answer, sse
from trio_router.observe.record import Outcome


async def connect(stack) -> trio.abc.Stream:
    ours, theirs = stack._pair()
    server = TCPServer(
        stack._wrapper, HypercornConfig(), stack._context, ConnectionState({}), ServerStream(theirs)
    )
    stack._nursery.start_soon(server.run)
    return ours


async def test_the_end_of_a_response_is_not_taken_for_a_client_that_left(autojump_clock):
    """quart-trio alone cancels itself inside the last send, and the connection is never timed out."""
    async with memory_stack() as stack:
        booked = Booked(stack.router)
        connection = await connect(stack)
        for stream in (False, True, False):
            await connection.send_all(request_bytes(chat("any/echo", stream=stream)))
            await until(connection, b"[DONE]\n\n\r\n0\r\n\r\n" if stream else b'"total_tokens"')
            assert (await booked.next()).outcome == Outcome.COMPLETED
        began = trio.current_time()
        await until(connection, b"")
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)


async def test_a_stream_comes_through(autojump_clock):
    async with memory_stack() as stack:
        connection = await connect(stack)
        await connection.send_all(request_bytes(chat("any/echo", "👋🏽", stream=True)))
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
        await connection.send_all(request_bytes(chat("any/m", stream=True)))
        await connection.receive_some(1000)
        began = trio.current_time()
        await stack.upstream.wait_closed_early()
        assert trio.current_time() - began == pytest.approx(20, abs=0.01)
        await connection.aclose()  # Hypercorn's shielded write ends with its reader alone


async def test_a_client_that_leaves_is_noticed(autojump_clock):
    async with memory_stack() as stack:
        booked = Booked(stack.router)
        connection = await connect(stack)
        await connection.send_all(request_bytes(chat("any/echo-h1", stream=True)))
        assert events((await until(connection, b"\n\n\r\n")).partition(b"\r\n\r\n")[2])
        await connection.aclose()
        await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE
