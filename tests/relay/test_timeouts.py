"""Every limit, to the second, under a clock that jumps."""

from __future__ import annotations

import pytest
import trio

from tests.chunks import SSE, STOP, delta
from tests.connections import post
from tests.stack import chat, events, memory_stack, text_of
from trio_router.demo import Answer, Hang, Send, Sleep, sse
from trio_router.observe.record import Outcome


async def run(answer, settings="", *, stream=True, connect=None):
    """Status, events or body, the record, and how long it took."""
    async with memory_stack(settings) as stack:
        stack.upstream.script = lambda _: answer
        if connect:
            stack._to_upstream = connect
        booked = []
        stack.router.engine.consumers = [booked.append]
        began = trio.current_time()
        async with stack.client.stream(
            "POST", "/v1/chat/completions", json=chat("any/m", stream=stream)
        ) as response:
            body = await response.aread()
        took = trio.current_time() - began
        if answer is not None:
            await stack.upstream.wait_open(0)
    return response, body, booked[0], took


def error_of(response):
    return response.json()["error"]


async def test_silence_before_the_first_event_ends_after_first_event_seconds(autojump_clock):
    response, _, record, took = await run(Answer(headers=SSE, steps=[Hang()]))
    assert response.status_code == 504
    assert error_of(response)["code"] == "provider_timeout"
    assert "first_event" in error_of(response)["message"]
    assert took == pytest.approx(60, abs=0.01)
    assert record.outcome == Outcome.UPSTREAM_TIMEOUT


async def test_comments_do_not_stand_for_a_first_event(autojump_clock):
    steps = [s for _ in range(100) for s in (Send(b": processing\n\n"), Sleep(5))]
    response, _, _, took = await run(Answer(headers=SSE, steps=steps))
    assert response.status_code == 504
    assert took == pytest.approx(60, abs=0.01)


async def test_headers_that_never_come_count_too(autojump_clock):
    response, _, _, took = await run(Answer(head_delay=1000))
    assert "first_event" in error_of(response)["message"]
    assert took == pytest.approx(60, abs=0.01)


async def test_silence_in_a_running_stream_ends_after_read_seconds(autojump_clock):
    steps = [*sse(delta("a"), done=False), Sleep(29), *sse(delta("b"), done=False), Hang()]
    response, body, record, took = await run(Answer(headers=SSE, steps=steps))
    items = events(body)
    assert response.status_code == 200
    assert text_of(items) == "ab"
    assert items[-1]["error"]["code"] == "provider_timeout"
    assert "read" in items[-1]["error"]["message"]
    assert took == pytest.approx(59, abs=0.01)
    assert record.outcome == Outcome.UPSTREAM_TIMEOUT


async def test_comments_are_life_in_a_running_stream(autojump_clock):
    quiet = [s for _ in range(10) for s in (Sleep(25), Send(b": still here\n\n"))]
    steps = [*sse(delta("a"), done=False), *quiet, *sse(STOP)]
    _, body, _record, took = await run(Answer(headers=SSE, steps=steps))
    assert events(body)[-1] == "[DONE]"
    assert took == pytest.approx(250, abs=1)


async def test_a_stream_longer_than_sixty_seconds_is_not_cut(autojump_clock):
    steps = [s for _ in range(40) for s in (*sse(delta("x"), done=False), Sleep(10))]
    _, body, _, took = await run(Answer(headers=SSE, steps=[*steps, *sse(STOP)]))
    assert text_of(events(body)) == "x" * 40
    assert events(body)[-1] == "[DONE]"
    assert took > 399


async def test_the_whole_stream_may_be_limited(autojump_clock):
    steps = [s for _ in range(40) for s in (*sse(delta("x"), done=False), Sleep(10))]
    _, body, _, took = await run(Answer(headers=SSE, steps=steps), "timeouts: {total: 45}")
    assert "total" in events(body)[-1]["error"]["message"]
    assert took == pytest.approx(45, abs=0.01)


async def test_an_answer_without_streaming_has_a_limit_of_its_own(autojump_clock):
    response, _, record, took = await run(Answer(steps=[Send(b'{"choi'), Hang()]), stream=False)
    assert response.status_code == 504
    assert "response" in error_of(response)["message"]
    assert took == pytest.approx(60, abs=0.01)
    assert record.outcome == Outcome.UPSTREAM_TIMEOUT


async def test_connecting_has_a_limit(autojump_clock):
    async def never(host, port):
        await trio.sleep_forever()

    response, _, _, took = await run(None, connect=never)
    assert (response.status_code, error_of(response)["code"]) == (504, "provider_timeout")
    assert "connect" in error_of(response)["message"]
    assert took == pytest.approx(10, abs=0.01)


async def test_a_model_overrides_its_provider_and_that_the_rest(autojump_clock):
    text = """
timeouts: {first_event: 5}
providers:
  p:
    base_url: http://upstream/v1
    timeouts: {first_event: 7}
    models: {own: {timeouts: {first_event: 3}}, plain: {}}
"""
    from tests.stack import Stack, config

    async with trio.open_nursery() as nursery:
        stack = Stack(nursery, config(text, ""))
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Hang()])
        for model, limit in (("p/own", 3), ("p/plain", 7)):
            began = trio.current_time()
            await stack.ask(chat(model, stream=True))
            assert trio.current_time() - began == pytest.approx(limit, abs=0.01)
        nursery.cancel_scope.cancel()


class TestKeepAlive:
    async def test_silence_is_bridged_by_comments_after_the_first_event(self, autojump_clock):
        steps = [*sse(delta("a"), done=False), Sleep(40), *sse(STOP)]
        _, body, _, _ = await run(Answer(headers=SSE, steps=steps), "timeouts: {read: 100}")
        assert body.count(b": keep-alive\n\n") == 2
        assert events(body)[-1] == "[DONE]"

    async def test_none_comes_before_the_first_event(self, autojump_clock):
        _response, body, _, _ = await run(Answer(headers=SSE, steps=[Sleep(50), *sse(STOP)]))
        assert b"keep-alive" not in body

    async def test_it_can_be_switched_off(self, autojump_clock):
        steps = [*sse(delta("a"), done=False), Sleep(29), *sse(STOP)]
        _, body, _, _ = await run(Answer(headers=SSE, steps=steps), "timeouts: {keepalive: null}")
        assert b"keep-alive" not in body

    async def test_early_commit_promises_the_stream_and_tells_errors_in_it(self, autojump_clock):
        async with memory_stack("timeouts: {early_commit: 5}") as stack:
            stack.upstream.script = lambda _: Answer(
                headers=SSE, steps=[Sleep(8), *sse({"error": "busy"})]
            )
            began = trio.current_time()
            async with stack.stream(chat("any/m")) as response:
                assert response.status_code == 200
                assert trio.current_time() - began == pytest.approx(5, abs=0.01)
                body = await response.aread()
        assert body.startswith(b":")
        assert events(body)[-1]["error"]["message"] == "busy"

    async def test_early_commit_changes_nothing_for_who_answers_in_time(self, autojump_clock):
        steps = [Sleep(3), *sse(delta("a"), STOP)]
        _, body, _, _ = await run(Answer(headers=SSE, steps=steps), "timeouts: {early_commit: 5}")
        assert body.startswith(b"data:")


class TestBackpressure:
    async def test_a_client_that_reads_nothing_loses_its_upstream_after_stall_seconds(
        self, autojump_clock
    ):
        async with memory_stack("timeouts: {stall: 20}", tight=True) as stack:
            booked = []
            stack.router.engine.consumers = [booked.append]
            chunk = sse(delta("x" * 100), done=False)[0]

            def endless():
                while True:
                    yield chunk

            stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())
            connection = await stack.connect()
            await connection.send_all(post(chat("any/m", stream=True)))
            await connection.receive_some(1000)
            began = trio.current_time()
            await stack.upstream.wait_closed_early()
            assert trio.current_time() - began == pytest.approx(20, abs=0.01)
            sent = stack.upstream.closed_early[0].chunks
            await trio.testing.wait_all_tasks_blocked()
            assert sent <= 10 + 5  # the buffer, and what is in each hand on the way
            assert booked[0].outcome == Outcome.CLIENT_STALLED

    async def test_a_slow_client_slows_the_upstream_and_gets_everything(self, autojump_clock):
        async with memory_stack(tight=True) as stack:
            chunks = [delta(f"{n} ") for n in range(200)]
            stack.upstream.script = lambda _: Answer(headers=SSE, steps=sse(*chunks, STOP))
            async with stack.stream(chat("any/m")) as response:
                body = b""
                async for data in response.aiter_raw():
                    body += data
                    await trio.sleep(5)
        assert text_of(events(body)) == "".join(f"{n} " for n in range(200))
        assert events(body)[-1] == "[DONE]"
