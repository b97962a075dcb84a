"""Whoever leaves is missed at once, whatever the upstream was doing for them."""

from __future__ import annotations

from itertools import repeat

import pytest
import trio
import trio.testing

from tests.demo.client import Client, chat
from trio_router.demo import Answer, ClosedEarly, DemoUpstream, Hang, Send, Sleep, WaitFor

ENDLESS = Answer(steps=repeat(Send(b"x" * 1000)))


@pytest.fixture
def upstream():
    return DemoUpstream()


@pytest.mark.parametrize(
    ("answer", "chunks"),
    [
        (Answer(head_delay=1000), 0),
        (Answer(steps=(Hang(),)), 0),
        (Answer(steps=(Send(b"one"), Sleep(1000))), 1),
        (Answer(steps=(Send(b"one"), Send(b"two"), WaitFor(trio.Event()))), 2),
    ],
    ids=["before the head", "hanging", "between chunks", "waiting for an event"],
)
async def test_a_reader_that_leaves_is_seen_at_once(nursery, upstream, answer, chunks, autojump_clock):
    upstream.script = lambda request: answer
    client = Client(nursery, upstream)
    await client.send(chat("some-model"))
    await trio.sleep(5)
    left_at = trio.current_time()
    await client.leave()
    await upstream.wait_closed_early()
    assert upstream.closed_early == [ClosedEarly("some-model", chunks, left_at)]
    assert trio.current_time() == left_at
    assert (upstream.open_streams, upstream.completed) == (0, 0)


async def test_closing_only_the_sending_side_is_leaving(nursery, upstream, autojump_clock):
    client = Client(nursery, upstream)
    await client.send(chat("echo-h0"))
    await upstream.wait_open(1)
    await client.stream.send_eof()
    await upstream.wait_closed_early()


async def test_a_reader_that_leaves_while_a_write_is_blocked_is_seen_at_once(
    nursery, upstream, autojump_clock
):
    upstream.script = lambda request: ENDLESS
    client = Client(nursery, upstream, trio.testing.lockstep_stream_pair())
    await client.send(chat("m"))
    await client.read()
    await trio.testing.wait_all_tasks_blocked()
    sent = upstream.sent_bytes
    await trio.sleep(60)
    assert upstream.sent_bytes == sent
    await client.leave()
    await upstream.wait_closed_early()
    assert upstream.open_streams == 0


async def test_a_reader_that_leaves_after_the_last_event_left_nothing_behind(
    nursery, upstream, autojump_clock
):
    client = Client(nursery, upstream)
    await client.send(chat("echo"))
    await client.read_until(b"data: [DONE]\n\n")
    await client.leave()
    await upstream.wait_open(0)
    await trio.testing.wait_all_tasks_blocked()
    assert (upstream.completed, upstream.closed_early) == (1, [])


async def test_leaving_an_idle_connection_or_half_a_request_counts_for_nothing(
    nursery, upstream, autojump_clock
):
    idle, half = Client(nursery, upstream), Client(nursery, upstream)
    await half.send(chat("echo")[:-5])
    await trio.testing.wait_all_tasks_blocked()
    await idle.leave()
    await half.leave()
    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks - {trio.lowlevel.current_task()}
    assert (upstream.closed_early, upstream.requests) == ([], [])


async def test_a_reader_that_never_leaves_is_not_counted_when_the_server_ends(upstream, autojump_clock):
    async with trio.open_nursery() as nursery:
        client = Client(nursery, upstream)
        await client.send(chat("echo-h1"))
        await upstream.wait_open(1)
        nursery.cancel_scope.cancel()
    assert (upstream.closed_early, upstream.open_streams) == ([], 0)


async def test_waiting_for_a_number_of_open_answers_sees_a_short_one(nursery, upstream, autojump_clock):
    seen = trio.Event()

    async def wait():
        await upstream.wait_open(2)
        seen.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        await Client(nursery, upstream).send(chat("echo"))
    with trio.fail_after(1):
        await seen.wait()


async def test_only_so_many_requests_and_readers_that_left_are_remembered(nursery, autojump_clock):
    upstream = DemoUpstream(remember=2)
    for number in range(5):
        client = Client(nursery, upstream)
        await client.send(chat(f"echo-h{number}"))
        await upstream.wait_open(1)
        await client.leave()
        await upstream.wait_closed_early(number + 1)
    assert [one.model for one in upstream.closed_early] == ["echo-h3", "echo-h4"]
    assert [one.json["model"] for one in upstream.requests] == ["echo-h3", "echo-h4"]
