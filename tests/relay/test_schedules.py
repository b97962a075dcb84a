"""Whatever providers and clients do: attempts are bounded, nothing stays open, one end is told."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from tests.chunks import STOP, delta
from tests.connections import post
from tests.relay.faults import BUSY, HTML, broken, limited, streaming
from tests.relay.routes import good, scene
from tests.stack import chat, events, text_of
from trio_router.clock.clock import SYSTEM
from trio_router.demo import Abort, Answer, Close, Hang, Sleep, error_answer, sse

WHOLE = "one two three"
KINDS = {
    "good": lambda: good("one ", "two three"),
    "slow": lambda: streaming(Sleep(1.5), *good("one two three").steps),
    "dripping": lambda: streaming(
        *[s for w in ("one ", "two ", "three") for s in (Sleep(2), *sse(delta(w), done=False))],
        *sse(STOP),
    ),
    "busy": lambda: BUSY,
    "limited": lambda: limited("3"),
    "limited for long": lambda: limited("300"),
    "refused": lambda: error_answer(401, "no", "invalid_api_key"),
    "wrong": lambda: error_answer(400, "no", "invalid_value"),
    "too long": lambda: error_answer(400, "no", "context_length_exceeded"),
    "silent": lambda: streaming(Hang()),
    "headless": lambda: Answer(head_delay=3600),
    "reset": lambda: streaming(Abort()),
    "html": lambda: HTML,
    "cut": lambda: broken(Abort()),
    "closed": lambda: broken(Close()),
    "endless": lambda: broken(Hang()),
    "error": lambda: broken(*sse({"error": {"message": "no", "code": 429}})),
    "other": lambda: good("quite another answer"),
}
SCHEDULE = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4)
ROUTE = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(["fallback", "round_robin", "lowest_latency", "least_in_flight"]),
        "midstream": st.sampled_from(["error", "replay", "prefill"]),
        "commit": st.sampled_from(["first_event", "complete"]),
        "hedge": st.sampled_from(["null", "{after: 1, share: 1}"]),
        "on_disconnect": st.sampled_from(["cancel", "{drain: {seconds: 3, max: 2}}"]),
        "retry": st.sampled_from(["{attempts: 0}", "{attempts: 2}", "{retry_after_max: 1}"]),
        "cooldown": st.sampled_from(["{}", "{failures: 1}", "{failures: 1000}"]),
    }
)
TARGETS = "targets: [{model: a/x, context: 8}, {model: b/y, prefill: true, context: 9}, {model: c/z}]"


def check_answer(raw: bytes, *, is_prefilled: bool) -> None:
    """Exactly one end: an error's status, [DONE], or an error event.  And the text is one answer's."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status != 200:
        assert json.loads(body)["error"]["message"]
        return
    pieces = b"".join(body.split(b"\r\n")[1::2])
    items = events(pieces)
    ends = [i for i, one in enumerate(items) if one == "[DONE]" or "error" in one]
    assert ends == [len(items) - 1]
    text = text_of(items[:-1])
    if is_prefilled:
        return  # these providers say all of it once more
    if items[-1] == "[DONE]":
        assert text in (WHOLE, "quite another answer")
    else:
        assert WHOLE.startswith(text) or "quite another answer".startswith(text)


async def play(route, schedules, requests, seed):
    if route["commit"] == "complete":
        route = {**route, "midstream": "error"}
    lines = ", ".join(f"{key}: {value}" for key, value in route.items())
    async with scene(f"{TARGETS}, {lines}", settings="timeouts: {read: 5}") as s:
        s.router.engine.clock = replace(SYSTEM, random=random.Random(seed).random)
        for model, kinds in schedules.items():
            s.script(model, *[KINDS[kind] for kind in kinds])

        async def client(stays):
            async with await s.stack.connect() as connection:
                await connection.send_all(post(chat("r", stream=True)))
                raw = b""
                with trio.move_on_after(float("inf") if stays is None else stays) as scope:
                    while b"0\r\n\r\n" not in raw[-5:]:
                        raw += (data := await connection.receive_some(65536))
                        if not data or (b"HTTP/1.1 200" not in raw and b"}}" in raw[-2:]):
                            break
                if not scope.cancelled_caught:
                    check_answer(raw, is_prefilled=route["midstream"] == "prefill")

        async with trio.open_nursery() as nursery:
            for at, stays in requests:
                await trio.sleep(at)
                nursery.start_soon(client, stays)
        await trio.sleep(4)  # drains end
        await s.at_rest()
        assert len(s.records) == len(requests)
        for record in s.records:
            assert record.attempts <= 9
            assert [bool(attempt.outcome) for attempt in record.tries] == [True] * record.attempts
        assert sum(record.attempts for record in s.records) >= len(s.asked)
        assert s.router.engine.drains == 0


TIMES = st.sampled_from([0.0, 0.5, 4.0])


@settings(max_examples=40)
@given(
    ROUTE,
    st.fixed_dictionaries({"x": SCHEDULE, "y": SCHEDULE, "z": SCHEDULE}),
    st.lists(st.tuples(TIMES, st.none() | st.floats(0, 15)), min_size=1, max_size=4),
    st.integers(0, 9),
)
def test_any_schedule_comes_to_one_honest_end(route, schedules, requests, seed):
    trio.run(play, route, schedules, requests, seed, clock=trio.testing.MockClock(autojump_threshold=0))


async def cancel_at_random(times: int, seed: int = 11) -> None:
    """Clients that leave at random moments of requests that wait for, hold and give back slots."""
    dice = random.Random(seed)
    providers = """
providers:
  a: {base_url: "http://upstream/v1", models: {x: {}}, max_in_flight: 3, max_queue: 5}
  b: {base_url: "http://upstream/v1", models: {y: {}}, max_in_flight: 3, max_queue: 5}
"""
    route = "targets: [{model: a/x}, {model: b/y}], hedge: {after: 0.3, share: 1}, midstream: replay"
    gates = "server: {max_streams: 8, max_queue: 20}\ntimeouts: {pool: 1, read: 2}"
    async with scene(route, gates, providers) as s:
        s.router.engine.clock = replace(SYSTEM, random=dice.random)

        def any_answer():
            return KINDS[dice.choice(sorted(KINDS))]()

        s.script("x", any_answer)
        s.script("y", any_answer)

        async def client(model):
            connection = await s.stack.connect()
            await connection.send_all(post(chat(model, stream=dice.random() < 0.8)))
            with trio.move_on_after(dice.uniform(0, 2)):
                while await connection.receive_some(65536):
                    pass
            await connection.aclose()

        done = 0
        while done < times:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(client, dice.choice(["r", "r", "a/x"]))
                    done += 1
                    if dice.random() < 0.5:
                        await trio.sleep(dice.uniform(0, 0.2))
            s.asked.clear()
            s.bodies.clear()
            del s.records[:-1]
        await s.at_rest()
        gates = [
            s.router.engine.gate,
            *(c._gate for c in s.router.generation.upstreams.clients.values()),
        ]
        assert [(g.admission.inside, g.admission.waiting) for g in gates] == [(0, 0)] * 3


async def test_no_slot_is_lost_when_clients_leave_at_any_moment(autojump_clock):
    await cancel_at_random(600)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 3))
async def test_no_slot_is_lost_over_ten_thousand_leaving_clients(seed, autojump_clock):
    await cancel_at_random(10_000, seed)
