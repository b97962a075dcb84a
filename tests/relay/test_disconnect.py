"""The reader leaves, the upstream is released: at every stage, on real sockets."""

from __future__ import annotations

import pytest
import trio

from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.connections import leave, post, raw_client, until_still
from tests.stack import chat, memory_stack, real_stack
from trio_router.demo import Answer, Hang, sse
from trio_router.observe.record import Outcome


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [True, False])
async def test_disconnect_before_first_event_closes_upstream(how, stream):
    async with real_stack() as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Hang()])
        connection = await raw_client(stack)
        await connection.send_all(post(chat("any/m", stream=stream)))
        await stack.upstream.wait_open(1)
        leave(connection, how)
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
        record = await booked.next()
        assert record.outcome == Outcome.CLIENT_GONE
        assert stack.upstream.open_streams == 0


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_disconnect_while_streaming_closes_upstream(how):
    async with real_stack() as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: Answer(
            headers=SSE, steps=[*sse(delta("a"), done=False), Hang()]
        )
        connection = await raw_client(stack)
        await connection.send_all(post(chat("any/m", stream=True)))
        while b'"a"' not in await connection.receive_some(65536):
            pass
        leave(connection, how)
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_disconnect_while_blocked_on_a_full_channel_closes_upstream(how):
    chunk = sse(delta("x" * 10_000), done=False)[0]

    def endless():
        while True:
            yield chunk

    async with real_stack() as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())
        connection = await raw_client(stack)
        await connection.send_all(post(chat("any/m", stream=True)))
        await stack.upstream.wait_open(1)
        await until_still(lambda: stack.upstream.sent_bytes)
        leave(connection, how)
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE


async def test_disconnect_while_connecting_gives_up_the_connection(autojump_clock):
    async with memory_stack() as stack:
        booked = Booked(stack.router)
        cancelled = trio.Event()
        connecting = trio.Event()

        async def never(host, port):
            connecting.set()
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        stack._to_upstream = never
        connection = await stack.connect()
        await connection.send_all(post(chat("any/m", stream=True)))
        await connecting.wait()
        await connection.aclose()
        with trio.fail_after(1):
            await cancelled.wait()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE


async def test_disconnect_while_the_body_is_still_coming_books_the_request(autojump_clock):
    async with memory_stack() as stack:
        booked = Booked(stack.router)
        connection = await stack.connect()
        await connection.send_all(post(chat("any/m"))[:-5])
        await connection.aclose()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE
        assert stack.upstream.requests == []


async def test_every_gauge_returns_to_zero_and_outcomes_add_up():
    async with real_stack() as stack:
        booked = Booked(stack.router)
        async with trio.open_nursery() as nursery:

            async def one(number: int) -> None:
                model = ["any/echo", "any/echo-h2", "any/echo-x2", "any/echo-r500"][number % 4]
                connection = await raw_client(stack)
                await connection.send_all(post(chat(model, stream=True)))
                if number % 4 == 1:
                    await connection.receive_some(10)
                    leave(connection, "close")
                else:
                    while b"0\r\n\r\n" not in (data := await connection.receive_some(65536)) and data:
                        if b"content-length" in data:
                            break
                    leave(connection, "close")

            for number in range(80):
                nursery.start_soon(one, number)
        while len(booked.records) < 80:
            await booked.next()
        outcomes = [r.outcome for r in booked.records]
        assert outcomes.count(Outcome.COMPLETED) == 20
        assert outcomes.count(Outcome.CLIENT_GONE) == 20
        assert outcomes.count(Outcome.TRUNCATED) == 20
        assert outcomes.count(Outcome.UPSTREAM_ERROR) == 20
        text = (await stack.router.metrics.render()).decode()
        gauges = [line for line in text.splitlines() if "s_open{" in line]
        assert gauges
        assert all(line.endswith(" 0.0") for line in gauges)
        assert not stack.router.engine.running
