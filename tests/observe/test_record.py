"""A running request knows its stage; an ended one has everything in its line."""

from __future__ import annotations

import logging

import pytest
import trio

from tests.stack import chat, memory_stack
from trio_router.observe.failure import kind_of, text_of
from trio_router.observe.log import ConsoleFormatter, JSONFormatter
from trio_router.observe.record import Outcome, Stage
from trio_router.testing import Answer, Hang, Send, Sleep, WaitFor

SSE = [(b"content-type", b"text/event-stream")]
SECRET = "Kroketten mit Senf"


def event(text: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % text.encode()


def record_of(stack):
    (exchange,) = stack.router.engine.running
    return exchange.record


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_a_stream_goes_through_its_stages(autojump_clock):
    settings = "timeouts: {stall: 5}\nstream: {buffer: 1}"
    async with memory_stack(settings, tight=True) as stack:
        go = trio.Event()
        big = [Send(event("x" * 50_000)) for _ in range(20)]
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[WaitFor(go), *big, Hang()])
        seen = []
        async with trio.open_nursery() as nursery:

            async def client() -> None:
                async with stack.stream(chat("any/m")):
                    await trio.sleep_forever()  # it reads nothing

            nursery.start_soon(client)
            await stack.upstream.wait_open(1)
            await settle()
            record = record_of(stack)
            seen.append(record.current_stage)
            go.set()
            await settle()
            seen.append(record.current_stage)
            assert record.bytes_waiting > 50_000
            assert record.chunks > 0
            nursery.cancel_scope.cancel()
    assert seen == [Stage.FIRST_EVENT, Stage.CLIENT]


async def test_who_waits_for_a_slot_is_queued(autojump_clock):
    providers = 'providers: {any: {base_url: "http://upstream/v1", max_in_flight: 1}}'
    from tests.stack import Stack, config

    async with trio.open_nursery() as nursery:
        stack = Stack(nursery, config("", providers))
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Hang()])
        nursery.start_soon(stack.ask, chat("any/m", stream=True))
        await stack.upstream.wait_open(1)
        nursery.start_soon(stack.ask, chat("any/n", stream=True))
        await settle()
        stages = {e.record.model: e.record.current_stage for e in stack.router.engine.running}
        nursery.cancel_scope.cancel()
    assert stages == {"m": Stage.FIRST_EVENT, "n": Stage.QUEUED}


async def test_who_cannot_be_reached_is_connecting(autojump_clock):
    async with trio.open_nursery() as nursery:
        from tests.stack import Stack, config

        stack = Stack(nursery, config())

        async def never(host: str, port: int) -> None:
            await trio.sleep_forever()

        stack._to_upstream = never
        nursery.start_soon(stack.ask, chat("any/m"))
        await settle()
        assert record_of(stack).current_stage == Stage.CONNECTING
        nursery.cancel_scope.cancel()


async def ended(stack, body) -> tuple:
    before = stack.router.observation.history.ended_count
    await stack.ask(body)
    while stack.router.observation.history.ended_count == before:  # noqa: ASYNC110 - no event tells it
        await trio.sleep(0.01)
    return stack.router.observation.history.recent[-1][2]


async def test_gaps_first_event_and_counts_are_remembered(autojump_clock):
    async with memory_stack() as stack:
        steps = [Sleep(2), Send(event("a")), Sleep(0.5), Send(event("b")), Sleep(3), Send(event("c"))]
        steps += [Send(b"data: [DONE]\n\n")]
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=steps)
        record = await ended(stack, chat("any/m", stream=True))
    assert (record.outcome, record.format) == (Outcome.COMPLETED, "sse")
    assert record.first_event_after == pytest.approx(2, abs=0.01)
    assert record.max_gap == pytest.approx(3, abs=0.01)
    assert record.chunks_processed == record.chunks == 3
    assert record.bytes_waiting == 0
    (attempt,) = record.tries
    assert attempt.sent_at <= attempt.first_event_at <= attempt.ended_at
    assert attempt.error is None


@pytest.mark.parametrize(
    ("model", "kind", "text"),
    [
        ("echo-r429", "http_429", "the provider answered with status 429"),
        ("echo-r401", "provider_auth_error", "any refused the router's credentials (401)"),
        ("echo-h0", "timeout_first_event", "any: first_event timeout after 60 s"),
        ("echo-c5-e2", "provider_stream_error", "provider stream error"),
        ("echo-c5-m2", "malformed_json", "malformed json"),
        (
            "echo-c5-t2",
            "upstream_truncated",
            "the upstream's stream ended before the answer was complete",
        ),
    ],
)
async def test_a_failed_try_has_a_kind_of_few(autojump_clock, model, kind, text):
    async with memory_stack() as stack:
        record = await ended(stack, chat(f"any/{model}", stream=True))
    assert (record.tries[0].error, record.tries[0].error_text) == (kind, text)


async def test_what_an_upstream_says_of_the_prompt_stays_out_of_sight(autojump_clock, caplog):
    async with memory_stack() as stack:
        body = b'{"error": {"message": "cannot say %b", "code": "%b"}}' % ((SECRET.encode(),) * 2)
        stack.upstream.script = lambda _: Answer(status=400, steps=[Send(body)])
        with caplog.at_level(logging.DEBUG, "trio_router"):
            record = await ended(stack, chat("any/m", SECRET))
        metrics = await stack.router.metrics.render()
    lines = [JSONFormatter().format(r) + ConsoleFormatter().format(r) for r in caplog.records]
    assert SECRET not in str(record.tries)
    assert SECRET.encode() not in metrics
    assert SECRET not in "".join(lines)


def test_kinds_are_few_whatever_an_upstream_calls_its_errors():
    from trio_router.errors import StreamError, UpstreamStatus

    assert kind_of(UpstreamStatus("m", status=418, code=SECRET)) == "http_418"
    assert kind_of(StreamError(SECRET)) == "provider_stream_error"
    assert SECRET not in text_of(UpstreamStatus(SECRET, status=418, code=SECRET))
    assert SECRET not in text_of(StreamError(SECRET))


LEVELS = [("echo", "INFO"), ("echo-r500", "WARNING"), ("echo-t2-c5", "WARNING")]


@pytest.mark.parametrize(("model", "level"), LEVELS)
async def test_a_line_has_the_level_of_its_outcome(autojump_clock, caplog, model, level):
    async with memory_stack() as stack:
        with caplog.at_level(logging.INFO, "trio_router"):
            await ended(stack, chat(f"any/{model}", stream=True))
    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert line.levelname == level


async def test_a_line_for_people_says_what_matters(autojump_clock, caplog):
    async with memory_stack() as stack:
        with caplog.at_level(logging.INFO, "trio_router"):
            await ended(stack, chat("any/echo-c3-f250", stream=True))
    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    text = ConsoleFormatter().format(line)
    assert "INFO    request completed any/echo-c3-f250 0.25 s first 250 ms status=200 chunks=6" in text
    assert "\n" not in text
