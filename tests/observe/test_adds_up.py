"""Counters add up: whatever befalls thousands of streams, nothing is lost and nothing counted twice."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from functools import partial

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.stack import Stack, chat, config, memory_stack
from trio_router.testing import Answer, cut

SSE = [(b"content-type", b"text/event-stream")]
CHUNK = b'data: {"choices": [{"delta": {"content": "%b"}}]}\n\n'
# What a stream may meet, and the outcomes that it may have then.
FATES = {
    "echo-c8-d20": {"completed"},
    "echo-c8-s3": {"completed"},
    "echo-c9-x4": {"truncated", "upstream_error"},
    "echo-c9-e3": {"upstream_error"},
    "echo-c9-m3": {"upstream_error"},
    "echo-c9-t3": {"truncated", "upstream_error"},
    "echo-r429": {"upstream_error"},
    "echo-r503": {"upstream_error"},
    "echo-c3-h2": {"upstream_timeout"},
    "echo-c5-u2": {"completed"},
    "echo-f3000": {"upstream_timeout", "completed"},  # not without streaming
    "echo-c400-b900": {"completed", "client_stalled"},
}
SETTINGS = "timeouts: {first_event: 2, read: 2, stall: 3}\nstream: {buffer: 2}"

MODELS = {name: {} for name in FATES}
LISTED = f'providers: {{any: {{base_url: "http://upstream/v1", models: {MODELS}}}}}'


def figures(text: bytes) -> dict[str, Counter]:
    """Each counter and gauge, by its labels."""
    found: dict[str, Counter] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, Counter())[key] += sample.value
    return found


def by(counter: Counter, label: str) -> Counter:
    added: Counter = Counter()
    for labels, value in counter.items():
        added[dict(labels)[label]] += int(value)
    return added


async def client(stack, model: str, deed: str, choose: random.Random, seen: Counter) -> None:
    body = chat(f"any/{model}", stream=choose.random() < 0.9)
    await trio.sleep(choose.random() * 3)
    with trio.move_on_after(choose.random() if deed == "leave" else 60) as leaving:
        connection = stack.new_client()
        async with connection, connection.stream("POST", "/v1/chat/completions", json=body) as response:
            if deed == "stall":
                await trio.sleep(20)
            with suppress(httpx.RemoteProtocolError):  # who stalls is torn off
                await response.aread()
    seen["left" if leaving.cancelled_caught else "read"] += 1


async def run(count: int, seed: int) -> None:
    choose = random.Random(seed)
    seen: Counter = Counter()
    asked: Counter = Counter()
    async with trio.open_nursery() as outer:
        stack = Stack(outer, config(SETTINGS, LISTED), tight=True)
        records = []
        stack.router.engine.consumers.append(records.append)
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                model = choose.choice(list(FATES))
                deed = choose.choice(["read", "read", "read", "leave", "stall"])
                asked[model] += 1
                nursery.start_soon(partial(client, stack, model, deed, choose, seen))
        await trio.sleep(10)
        await stack.router.sample()
        now = figures(await stack.router.metrics.render())
        history = stack.router.observation.history
        outer.cancel_scope.cancel()
    outcomes = now["trio_router_requests_total"]
    assert by(outcomes, "model") == asked
    assert sum(outcomes.values()) == len(records) == count == sum(seen.values())
    assert by(outcomes, "outcome") == Counter(str(record.outcome) for record in records)
    for record in records:
        allowed = FATES[record.model] | {"client_gone", "client_stalled"}
        assert str(record.outcome) in allowed, (record.model, record.outcome)
    for name, field in [
        ("chunks_processed", "chunks_processed"),
        ("chunks_failed", "chunks_failed"),
        ("bytes_received", "bytes_received"),
        ("unicode_errors", "unicode_errors"),
        ("json_errors", "json_errors"),
    ]:
        counted = sum(now[f"trio_router_{name}_total"].values())
        assert counted == sum(getattr(record, field) for record in records), name
    for gauge in ("streams_open", "upstreams_open", "requests_open"):
        assert set(now[f"trio_router_{gauge}"].values()) == {0}, gauge
    in_history = [f for slot in history.slots for f in slot.series.values()]
    assert history.ended_count == count
    assert sum(f.ended for f in in_history) == count
    assert sum(f.chunks for f in in_history) == sum(r.chunks_processed for r in records)
    assert not any(record.bytes_waiting < 0 for record in records)


@pytest.mark.parametrize("seed", range(2))
async def test_counters_add_up_over_a_hundred_streams(autojump_clock, seed):
    await run(100, seed)


@pytest.mark.slow
async def test_counters_add_up_over_thousands_of_streams(autojump_clock):
    await run(2000, 100)


async def test_bytes_and_chunks_are_those_that_the_upstream_sent(autojump_clock):
    choose = random.Random(1)
    sent: Counter = Counter()

    def answer(_) -> Answer:
        chunks = choose.randint(1, 40)
        texts = ["ä" * choose.randint(0, 300) for _ in range(chunks)]
        body = b"".join(
            b'data: {"choices": [{"delta": {"content": "%b"}}]}\n\n' % t.encode() for t in texts
        )
        body += b'data: {"choices": [{"finish_reason": "stop", "delta": {}}]}\n\ndata: [DONE]\n\n'
        sent["bytes"] += len(body)
        sent["chunks"] += chunks + 1
        return Answer(headers=SSE, steps=cut(body, choose.randint(1, 500)))

    async with memory_stack() as stack:
        stack.upstream.script = answer
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(stack.ask, chat("any/m", stream=True))
        text = figures(await stack.router.metrics.render())
    assert sum(text["trio_router_chunks_processed_total"].values()) == sent["chunks"]
    assert sum(text["trio_router_bytes_received_total"].values()) == sent["bytes"]


async def test_names_that_clients_make_up_make_no_series(autojump_clock):
    async with memory_stack() as stack:
        for number in range(300):
            await stack.ask(chat(f"any/echo-r404-c{number}"))
            await stack.ask(chat(f"nobody-{number}/m"))
        text = figures(await stack.router.metrics.render())
    assert {dict(labels)["model"] for labels in text["trio_router_requests_total"]} == {"", "other"}
