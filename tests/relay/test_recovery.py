"""How soon a provider that was down is in use again, and how often it is asked until then."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
import trio

from tests.relay.faults import BUSY, LIMITED, broken, limited, streaming
from tests.relay.routes import good, scene
from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Abort, Answer, Hang, Sleep, error_answer

WITHIN = 20.0  # s from the provider's recovery to its use
APART = 10.0  # s between two probes
BEGINS = 5.0  # s of good answers before the outage

OUTAGES = {
    "503": lambda: BUSY,
    "429": lambda: LIMITED,
    "401": lambda: error_answer(401, "who?", "invalid_api_key"),
    "reset": lambda: streaming(Abort()),
    "silence": lambda: streaming(Hang()),
    "a late 503": lambda: Answer(503, head_delay=8.0),
    # Its first events count as a sign of life, so it is not only probes that meet it.
    "cut in mid-answer": lambda: broken(Sleep(3), Abort()),
}


class Sitting:
    """Requests at random moments, `gap` seconds apart on average, before, in and after an outage."""

    def __init__(self, s, outage, length, seed, gap=0.5):
        self.s = s
        self.length = length
        self.served: list[tuple[float, str]] = []  # when each request was made, and who answered
        self._dice = random.Random(seed)
        self._gap = gap
        self._end = BEGINS + length
        s.script("x", lambda: outage() if BEGINS <= self._now() < self._end else good("x"))
        s.script("y", good("y"))

    def _now(self):
        return trio.current_time() - self.s.began

    async def _ask(self):
        at = self._now()
        self.served.append((at, (await self.s.ask()).text))

    async def run(self):
        async with trio.open_nursery() as nursery:
            while self._now() < self._end + 3 * WITHIN:
                nursery.start_soon(self._ask)
                await trio.sleep(self._dice.uniform(0, 2 * self._gap))

    def back(self):
        """Seconds from the recovery until all requests were the first target's again."""
        elsewhere = [at for at, text in self.served if text != "x" and at >= self._end]
        first = min(at for at, _ in self.served if at > max([self._end, *elsewhere]))
        return first - self._end

    def probes(self):
        """When the target was asked in the outage, once its circuit had opened."""
        return [at for model, at in self.s.asked if model == "x" and BEGINS + 13 < at < self._end]


@pytest.mark.parametrize("length", [1, 9.5, 11, 27, 61])
@pytest.mark.parametrize("kind", OUTAGES)
async def test_a_provider_is_in_use_soon_after_its_recovery_and_rarely_probed(
    kind, length, autojump_clock
):
    async with scene() as s:
        sitting = Sitting(s, OUTAGES[kind], length, seed=length)
        await sitting.run()
        assert sitting.back() <= WITHIN
        if "cut" not in kind:
            probes = sitting.probes()
            assert all(b - a >= APART for a, b in pairwise(probes))
            assert len(probes) >= (length - 13) // 16


@pytest.mark.slow
@pytest.mark.parametrize("kind", OUTAGES)
@pytest.mark.parametrize("length", [3, 60, 300, 3600])
async def test_so_it_is_up_to_an_hour(kind, length, autojump_clock):
    async with scene() as s:
        sitting = Sitting(s, OUTAGES[kind], length, seed=1, gap=1)
        await sitting.run()
        assert sitting.back() <= WITHIN
        if "cut" not in kind:
            assert all(b - a >= APART for a, b in pairwise(sitting.probes()))


async def test_many_requests_at_once_send_one_probe_with_hedging_too(autojump_clock):
    hedged = "targets: [{model: a/x}, {model: b/y}], hedge: {after: 1, share: 1}"
    async with scene(hedged + ", cooldown: {failures: 1}, retry: {attempts: 0}") as s:
        s.script("x", BUSY)
        s.script("y", good("y"))
        await s.ask()
        await trio.sleep(10)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(s.ask)
        assert [m for m, _ in s.asked].count("x") == 2


async def test_plain_requests_do_not_put_off_the_recovery(autojump_clock):
    async with scene() as s:
        s.script("x", lambda: BUSY if trio.current_time() - s.began < 60 else good("x"))
        s.script("y", good("y"))
        while trio.current_time() - s.began < 60:
            await s.ask("a/x")
            await s.ask()
            await trio.sleep(0.5)
        assert (await s.ask()).text == "y"
        assert (await s.ask("a/x")).text == "x"
        assert (await s.ask()).text == "x"


ALONE = "targets: [{model: a/x}]"
ABSURD = limited("60000")  # milliseconds by mistake


class TestPatience:
    async def test_up_to_the_limit_it_is_obeyed_in_full(self, autojump_clock):
        async with scene() as s:
            s.script("x", limited("290"), good("x"))
            s.script("y", good("y"))
            while (now := trio.current_time() - s.began) < 320:
                text = (await s.ask()).text
                assert text == ("x" if now >= 290 else "y")
                await trio.sleep(1)

    @pytest.mark.parametrize("route", [ALONE, "targets: [{model: a/x}, {model: b/y}]"])
    async def test_beyond_it_one_probe_each_limit_is_let_through(self, route, autojump_clock):
        async with scene(route) as s:
            s.script("x", ABSURD)
            s.script("y", good("y"))
            while trio.current_time() - s.began < 1490:
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(s.ask)
                await trio.sleep(4)
            asked = [at for model, at in s.asked if model == "x" and at > 0]
            assert asked == pytest.approx([300, 600, 900, 1200], abs=10)

    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_probe_that_is_answered_ends_the_rest(self, stream, autojump_clock):
        async with scene(ALONE) as s:
            s.script("x", ABSURD, good("x"))
            assert (await s.ask(stream=stream)).status == 429
            await trio.sleep(299)
            assert (await s.ask(stream=stream)).status in (200, 503)
            await trio.sleep(2)
            for _ in range(3):
                assert (await s.ask(stream=stream)).status == 200
            assert len(s.asked) == 4 or len(s.asked) == 5

    async def test_its_first_event_does(self, autojump_clock):
        async with scene() as s:
            s.script("x", ABSURD, broken(Sleep(20), *good().steps), good("x"))
            s.script("y", good("y"))
            await s.ask()
            await trio.sleep(300)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(s.ask)
                await trio.sleep(1)
                assert (await s.ask()).text == "x"

    async def test_a_probe_whose_client_leaves_puts_it_off_by_little(self, autojump_clock):
        async with scene() as s:
            s.script("x", ABSURD, streaming(Hang()), good("x"))
            s.script("y", good("y"))
            await s.ask()
            await trio.sleep(300)
            with trio.move_on_after(1):
                await s.ask()
            await trio.testing.wait_all_tasks_blocked()
            assert (await s.ask()).text == "y"
            await trio.sleep(10)
            assert (await s.ask()).text == "x"

    async def test_what_a_probe_is_told_counts_though_it_is_less(self, autojump_clock):
        async with scene() as s:
            s.script("x", ABSURD, limited("40"), good("x"))
            s.script("y", good("y"))
            await s.ask()
            await trio.sleep(300)
            assert (await s.ask()).text == "y"
            await trio.sleep(39)
            assert (await s.ask()).text == "y"
            await trio.sleep(1)
            assert (await s.ask()).text == "x"

    async def test_a_success_of_a_plain_request_ends_it(self, autojump_clock):
        async with scene(ALONE) as s:
            s.script("x", ABSURD, good("x"))
            await s.ask()
            assert (await s.ask()).status == 503
            assert (await s.ask("a/x")).text == "x"
            assert (await s.ask()).text == "x"

    async def test_what_was_asked_before_does_not(self, autojump_clock):
        async with scene() as s:
            slow = broken(Sleep(5), *good().steps)
            s.script("x", slow, limited("100"))
            s.script("y", good("y"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(s.ask)
                await trio.sleep(1)
                await s.ask()
            assert (await s.ask()).text == "y"
            assert [model for model, _ in s.asked] == ["x", "x", "y", "y"]

    async def test_a_route_says_how_long_is_within_reason(self, autojump_clock):
        async with scene(f"{ALONE}, cooldown: {{retry_after: 40}}") as s:
            s.script("x", ABSURD, good("x"))
            seen = await s.ask()
            assert (seen.status, seen.headers["retry-after"]) == (429, "40")
            assert 0 < int((await s.ask()).headers["retry-after"]) <= 40
            await trio.sleep(40)
            assert (await s.ask()).text == "x"

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("60000", "300"),
            ("9" * 25, "300"),
            ("Fri, 31 Dec 2100 23:59:59 GMT", "300"),
            ("300", "300"),
            ("300.5", "300"),
            ("12", "12"),
            ("soon", None),
        ],
    )
    @pytest.mark.parametrize("model", ["r", "a/x"])
    async def test_a_client_is_never_told_to_stay_away_for_longer(
        self, said, told, model, autojump_clock
    ):
        async with scene(ALONE + ", retry: {attempts: 0}") as s:
            s.script("x", limited(said))
            seen = await s.ask(model)
            assert (seen.status, seen.headers.get("retry-after")) == (429, told)

    async def test_a_key_of_several_is_believed_no_more(self, autojump_clock):
        providers = """
providers:
  a: {base_url: "http://upstream/v1", models: {x: {}}, api_keys: [key-one, key-two]}
"""
        async with scene(f"{ALONE}, affinity: off", providers=providers) as s:
            used = []

            def answer(request):
                used.append(request.headers["authorization"][-3:])
                s.asked.append(("x", trio.current_time() - s.began))
                return ABSURD if used == ["one"] else good()

            s.stack.upstream.script = answer
            for _ in range(6):
                assert (await s.ask()).is_clean
            assert used == ["one", *["two"] * 6]
            await trio.sleep(300)
            for _ in range(4):
                assert (await s.ask()).is_clean
            assert used[7:].count("one") == 2


@pytest.mark.slow
async def test_twenty_sittings_of_a_minutes_outage_over_real_sockets():
    """All twenty at once, each with its own target and its own moment."""
    count, length = 20, 60.0
    lines = [f"  r{n}: {{targets: [{{model: a/x{n}}}, {{model: b/y}}]}}" for n in range(count)]
    names = ", ".join(f"x{n}: {{}}" for n in range(count))
    text = f"""
providers:
  a: {{base_url: "http://upstream/v1", models: {{{names}}}}}
  b: {{base_url: "http://upstream/v1", models: {{y: {{}}}}}}
routes:
""" + "\n".join(lines)
    kinds = ["503", "reset", "silence", "429"]
    dice = random.Random(7)
    begins = [dice.uniform(1, 12) for _ in range(count)]
    asked: dict[str, list[float]] = {}
    late: list[float] = []
    began = time.monotonic()

    def script(request):
        model = request.json["model"]
        now = time.monotonic() - began
        asked.setdefault(model, []).append(now)
        if model == "y":
            return good("y")
        number = int(model[1:])
        if begins[number] <= now < begins[number] + length:
            return OUTAGES[kinds[number % len(kinds)]]()
        return good("x")

    async def sit(stack, number):
        end = begins[number] + length
        back = None

        async def ask():
            nonlocal back
            at = time.monotonic() - began
            body = chat(f"r{number}", stream=True)
            response = await stack.client.post("/v1/chat/completions", json=body)
            if text_of(events(response.content)) == "x" and at >= end and back is None:
                back = at

        async with trio.open_nursery() as nursery:
            while (now := time.monotonic() - began) < end + WITHIN + 2:
                nursery.start_soon(ask)
                await trio.sleep(1 if now < end else 0.25)
        late.append((back or 1e9) - end)

    async with real_stack(providers=text) as stack:
        stack.upstream.script = script
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(sit, stack, number)
    print("back after", sorted(round(one, 1) for one in late))
    assert len(late) == count
    assert max(late) <= WITHIN
    for number in range(count):
        opened, end = begins[number] + 13, begins[number] + length
        probes = [at for at in asked[f"x{number}"] if opened < at < end]
        assert all(b - a >= APART - 0.1 for a, b in pairwise(probes))
