"""Leaving on time, on real sockets."""

from __future__ import annotations

import pytest
import trio

from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.connections import post, raw_client, until_still
from tests.stack import chat, events, real_stack
from trio_router.demo import Answer, Hang, sse
from trio_router.observe.record import Outcome

QUICK = "server: {graceful_timeout: 0.2}"


async def stopped_within(stack, seconds: float) -> None:
    stack.stop.set()
    with trio.fail_after(seconds):
        await stack.stopped.wait()


async def test_an_idle_router_leaves_at_once_with_keep_alive_connections_open():
    async with real_stack() as stack:
        connection = await raw_client(stack)
        await connection.send_all(post(chat("any/echo")))
        while b'"total_tokens"' not in await connection.receive_some(65536):
            pass
        await stopped_within(stack, 1)
        await connection.aclose()


async def test_a_client_that_has_stopped_reading_does_not_keep_the_process_alive():
    """Hypercorn's own shielded write would hold it for ever."""
    chunk = sse(delta("x" * 10_000), done=False)[0]

    def endless():
        while True:
            yield chunk

    async with real_stack(QUICK) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())
        connection = await raw_client(stack)
        await connection.send_all(post(chat("any/m", stream=True)))
        await stack.upstream.wait_open(1)
        await until_still(lambda: stack.upstream.sent_bytes)
        await stopped_within(stack, 1.2)
        assert (await booked.next()).outcome == Outcome.SHUTDOWN
        with trio.fail_after(1):
            await stack.upstream.wait_closed_early()
        await connection.aclose()


async def test_a_running_stream_ends_with_an_error_event_when_its_grace_is_over():
    async with real_stack(QUICK) as stack:
        answer = Answer(headers=SSE, steps=[*sse(delta("a"), done=False), Hang()])
        stack.upstream.script = lambda _: answer
        body = chat("any/m", stream=True)
        async with stack.client.stream("POST", "/v1/chat/completions", json=body) as response:
            stack.stop.set()
            items = events(await response.aread())
        assert items[-1]["error"]["code"] == "draining"
        with trio.fail_after(1):
            await stack.stopped.wait()


async def test_while_draining_new_requests_get_an_honest_503():
    async with real_stack("server: {graceful_timeout: 5}") as stack:
        stack.upstream.script = lambda r: (
            Answer(headers=SSE, steps=[*sse(delta("a"), done=False), Hang()])
            if r.json["stream"]
            else None
        )
        body = chat("any/echo", stream=True)
        async with stack.client.stream("POST", "/v1/chat/completions", json=body):
            stack.stop.set()
            while not stack.router.is_draining:
                await trio.lowlevel.checkpoint()
            ready = await stack.client.get("/readyz")
            refused = await stack.client.post("/v1/chat/completions", json=chat("any/echo"))
        assert ready.status_code == 503
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"]
        with trio.fail_after(2):
            await stack.stopped.wait()


@pytest.mark.parametrize("stage", ["head", "body"])
async def test_a_request_that_never_comes_whole_does_not_hold_the_drain(stage):
    async with real_stack(QUICK) as stack:
        connection = await raw_client(stack)
        request = post(chat("any/m"))
        await connection.send_all(request[:20] if stage == "head" else request[:-5])
        await trio.testing.wait_all_tasks_blocked(0.05)
        await stopped_within(stack, 2)
        await connection.aclose()
