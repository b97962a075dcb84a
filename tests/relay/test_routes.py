"""What a route does beside rescuing: keys, cooldown, balancing, admission, hedging, drain."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import replace

import pytest
import trio

from tests.chunks import HELLO, SSE, STOP, delta
from tests.connections import post
from tests.relay.faults import BUSY, broken, streaming
from tests.relay.routes import PROVIDERS, TARGETS, good, scene
from tests.stack import chat
from trio_router.clock.clock import SYSTEM
from trio_router.demo import Abort, Answer, Hang, Sleep, error_answer, json_answer, sse
from trio_router.observe.record import Outcome

ONE = "targets: [{model: a/x}]"
USAGE = {**HELLO, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


class TestListing:
    async def test_routes_are_models(self, autojump_clock):
        async with scene() as s:
            listed = (await s.stack.client.get("/v1/models")).json()["data"]
            assert {"id": "r", "object": "model", "created": 0, "owned_by": "trio-router"} in listed
            assert (await s.stack.client.get("/v1/models/r")).json()["id"] == "r"

    async def test_a_name_near_a_route_is_told(self, autojump_clock):
        async with scene(settings="") as s:
            seen = await s.ask("rr")
            assert (seen.status, seen.error["code"]) == (404, "model_not_found")


class TestKeys:
    # Nothing tells these requests' conversations apart, so the keys have their turns.
    ANY = {"messages": [{"role": "user", "content": ""}]}
    PROVIDERS = """
providers:
  a: {base_url: "http://upstream/v1", models: {x: {}}, api_keys: [key-one, key-two, key-three]}
  b: {base_url: "http://upstream/v1", models: {y: {}}}
"""

    async def keyed(self, s, refused=(), limited=()):
        """Lets provider `a` refuse some keys, and notes which it was asked with."""
        used = []

        def answer(request):
            s.asked.append((request.json["model"], round(request.at - s.began, 3)))
            if request.json["model"] != "x":
                return good("other")
            key = request.headers["authorization"].removeprefix("Bearer key-")
            used.append(key)
            if key in refused:
                return error_answer(401, "wrong key key-" + key, "invalid_api_key")
            if key in limited:
                return error_answer(429, "slow", "rate_limit_exceeded")
            return good()

        s.stack.upstream.script = answer
        return used

    @pytest.mark.parametrize("model", ["r", "a/x"])
    async def test_keys_take_turns(self, model, autojump_clock):
        async with scene(providers=self.PROVIDERS) as s:
            used = await self.keyed(s)
            for _ in range(6):
                assert (await s.ask(model, **self.ANY)).is_clean
            assert used == ["one", "two", "three"] * 2

    @pytest.mark.parametrize("model", ["r", "a/x"])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_refused_key_is_given_a_rest_and_the_next_is_asked(
        self, model, stream, autojump_clock
    ):
        async with scene(providers=self.PROVIDERS) as s:
            used = await self.keyed(s, refused=["one"])
            for _ in range(4):
                assert (await s.ask(model, stream=stream, **self.ANY)).status == 200
            assert used == ["one", "two", "three", "two", "three"]
            assert {m for m, _ in s.asked} == {"x"}
            await trio.sleep(31)
            used.clear()
            for _ in range(3):
                await s.ask(model, **self.ANY)
            assert used == ["one", "two", "three", "two"]
            assert s.router.generation.upstreams.fleet.targets["a/x"].state(trio.current_time()) == 0

    async def test_when_all_keys_are_refused_the_next_target_answers(self, autojump_clock):
        async with scene(providers=self.PROVIDERS) as s:
            used = await self.keyed(s, refused=["one", "two", "three"])
            seen = await s.ask(**self.ANY)
            assert seen.text == "other"
            assert used == ["one", "two", "three"]

    async def test_a_plain_model_whose_keys_are_all_refused_is_our_fault(self, autojump_clock):
        async with scene(providers=self.PROVIDERS) as s:
            await self.keyed(s, refused=["one", "two", "three"])
            seen = await s.ask("a/x", **self.ANY)
            assert (seen.status, seen.error["code"]) == (502, "provider_auth_error")
            assert b"key-" not in seen.body
            assert s.line["route"] is None

    async def test_a_key_that_has_used_up_its_rate_rests_and_another_is_asked_at_once(
        self, autojump_clock
    ):
        async with scene(providers=self.PROVIDERS) as s:
            used = await self.keyed(s, limited=["one"])
            seen = await s.ask(**self.ANY)
            assert seen.is_clean
            assert (used, seen.took) == (["one", "two"], 0)

    async def test_a_plain_model_is_asked_once_whatever_happens(self, autojump_clock):
        async with scene() as s:
            s.script("x", BUSY)
            assert (await s.ask("a/x", **self.ANY)).status == 503
            assert s.asked == [("x", 0.0)]


class TestCooldown:
    async def test_a_flapping_provider_is_back_soon_after_few_probes(self, autojump_clock):
        async with scene() as s:
            s.script("x", lambda: BUSY if trio.current_time() - s.began < 60 else good("x"))
            s.script("y", good("y"))
            texts = []
            while (now := trio.current_time() - s.began) < 120:
                texts.append((now, await s.ask()))
                await trio.sleep(0.5)
            assert all(seen.is_clean for _, seen in texts)
            back = next(at for at, seen in texts if seen.text == "x")
            assert 60 <= back <= 90
            assert all(seen.text == "x" for at, seen in texts if at >= back)
            probes = [at for model, at in s.asked if model == "x" and 2 < at < 60]
            assert len(probes) <= 4
            slowest = max(seen.took for at, seen in texts if at > 2)
            assert slowest < 0.001

    async def test_one_request_probes_at_a_time(self, autojump_clock):
        async with scene(TARGETS + ", cooldown: {failures: 1}, retry: {attempts: 0}") as s:
            s.script("x", BUSY, lambda: streaming(Sleep(2), *good("x").steps))
            s.script("y", good("y"))
            await s.ask()
            await trio.sleep(10)
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(s.ask)
            assert Counter(m for m, _ in s.asked[2:]) == {"x": 1, "y": 4}
            assert (await s.ask()).text == "x"

    async def test_a_probe_whose_client_leaves_lets_the_next_probe(self, autojump_clock):
        async with scene(TARGETS + ", cooldown: {failures: 1}, retry: {attempts: 0}") as s:
            s.script("x", BUSY, streaming(Hang()), good("x"))
            s.script("y", good("y"))
            await s.ask()
            await trio.sleep(10)
            with trio.move_on_after(1):
                await s.ask()
            await s.stack.upstream.wait_closed_early()
            await trio.testing.wait_all_tasks_blocked()
            assert (await s.ask()).text == "x"

    async def test_success_of_a_plain_request_closes_the_circuit(self, autojump_clock):
        async with scene(TARGETS + ", cooldown: {failures: 1}, retry: {attempts: 0}") as s:
            s.script("x", BUSY, good("x"))
            s.script("y", good("y"))
            assert (await s.ask()).text == "y"
            state = 'trio_router_target_state{model="x",provider="a"}'
            assert s.metric(state) == 2
            assert (await s.ask("a/x")).text == "x"
            assert s.metric(state) == 0
            assert (await s.ask()).text == "x"

    async def test_failures_of_plain_requests_open_it(self, autojump_clock):
        async with scene() as s:
            s.script("x", BUSY)
            s.script("y", good("y"))
            for _ in range(3):
                await s.ask("a/x")
            seen = await s.ask()
            assert (seen.text, seen.took) == ("y", 0)
            assert seen.headers["x-trio-router-attempts"] == "1"

    async def test_an_outage_is_not_multiplied(self, autojump_clock):
        quiet = "cooldown: {failures: 100000}, retry: {attempts: 5, base: 0.001}"
        async with scene(f"{ONE}, {quiet}") as s:
            s.script("x", BUSY)
            for _ in range(500):
                await s.ask()
            assert len(s.asked) <= 500 * 1.2 + 25


class TestBalancing:
    async def count(self, settings, requests=60, **headers):
        async with scene(f"{TARGETS}, affinity: off, {settings}") as s:
            s.router.engine.clock = replace(SYSTEM, random=random.Random(1).random)
            s.script("x", good())
            s.script("y", good())
            for _ in range(requests):
                await s.ask()
            return Counter(m for m, _ in s.asked)

    async def test_round_robin(self, autojump_clock):
        assert await self.count("strategy: round_robin") == {"x": 30, "y": 30}

    async def test_weighted(self, autojump_clock):
        targets = "targets: [{model: a/x, weight: 3}, {model: b/y}], strategy: weighted, affinity: off"
        async with scene(targets) as s:
            s.router.engine.clock = replace(SYSTEM, random=random.Random(1).random)
            s.script("x", good())
            s.script("y", good())
            for _ in range(200):
                await s.ask()
            assert Counter(m for m, _ in s.asked)["x"] == pytest.approx(150, abs=20)

    async def test_least_in_flight(self, autojump_clock):
        async with scene(f"{TARGETS}, strategy: least_in_flight, affinity: off") as s:
            s.script("x", lambda: streaming(*sse(delta("a"), done=False), Sleep(20), *sse(STOP)))
            s.script("y", good())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(s.ask)
                await trio.sleep(0.1)
                for _ in range(5):
                    await s.ask()
                assert [m for m, _ in s.asked] == ["x"] + ["y"] * 5

    async def test_lowest_latency(self, autojump_clock):
        async with scene(f"{TARGETS}, strategy: lowest_latency, affinity: off") as s:
            s.router.engine.clock = replace(SYSTEM, random=random.Random(1).random)
            s.script("x", lambda: streaming(Sleep(2), *good().steps))
            s.script("y", lambda: streaming(Sleep(0.1), *good().steps))
            for _ in range(40):
                await s.ask()
            assert Counter(m for m, _ in s.asked)["y"] > 30

    @pytest.mark.parametrize("sticky", ["user", "header:x-session"])
    async def test_sticky_requests_stay_with_their_target(self, sticky, autojump_clock):
        async with scene(f"{TARGETS}, strategy: round_robin, sticky: {sticky}") as s:
            s.script("x", good("x"))
            s.script("y", good("y"))
            s.stack.client.headers["x-session"] = "one"
            first = (await s.ask(user="one")).text
            for _ in range(5):
                assert (await s.ask(user="one")).text == first
            found = set()
            for who in range(20):
                s.stack.client.headers["x-session"] = str(who)
                found.add((await s.ask(user=str(who))).text)
            assert found == {"x", "y"}


class TestAdmission:
    async def test_beyond_max_streams_requests_wait_and_are_refused_at_last(self, autojump_clock):
        settings = "server: {max_streams: 1, max_queue: 1}\ntimeouts: {pool: 3}"
        async with scene(settings=settings) as s:
            s.script("x", lambda: streaming(*sse(delta("a"), done=False), Sleep(5), *sse(STOP)))
            seen = {}

            async def ask(name, model):
                seen[name] = await s.ask(model)

            async with trio.open_nursery() as nursery:
                for name in "first", "waits", "is too much":
                    nursery.start_soon(ask, name, "a/x" if name == "waits" else "r")
                    await trio.sleep(0.01)
            assert seen["first"].is_clean
            assert (seen["is too much"].status, seen["is too much"].took) == (503, 0)
            assert (seen["waits"].status, seen["waits"].took) == (503, 3)
            for name in ("waits", "is too much"):
                assert seen[name].error["code"] == "overloaded"
                assert int(seen[name].headers["retry-after"]) >= 1
            assert s.router.engine.gate.admission.inside == 0

    async def test_who_waits_is_let_in_when_another_ends(self, autojump_clock):
        async with scene(settings="server: {max_streams: 1}") as s:
            s.script("x", lambda: streaming(*sse(delta("a"), done=False), Sleep(5), *sse(STOP)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(s.ask)
                nursery.start_soon(s.ask, "a/x")
            assert s.asked == [("x", 0.0), ("x", 5.0)]

    async def test_a_full_provider_sends_requests_on_at_once(self, autojump_clock):
        providers = PROVIDERS.replace("models: {x", "max_in_flight: 1, max_queue: 0, models: {x", 1)
        async with scene(providers=providers) as s:
            s.script("x", lambda: streaming(*sse(delta("a"), done=False), Sleep(5), *sse(STOP)))
            s.script("y", good("y"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(s.ask)
                await trio.sleep(1)
                seen = await s.ask()
            assert (seen.text, seen.took) == ("y", 0)
            assert s.router.generation.upstreams.fleet.targets["a/x"].state(trio.current_time()) == 0


class TestHedging:
    HEDGED = TARGETS + ", hedge: {after: 0.8, share: 1}"

    async def test_a_slow_target_is_raced_and_the_loser_closed_at_once(self, autojump_clock):
        async with scene(self.HEDGED) as s:
            s.script("x", streaming(Hang()))
            s.script("y", lambda: streaming(Sleep(0.5), *good("y").steps))
            async with s.stack.stream(chat("r")) as response:
                assert round(trio.current_time() - s.began, 3) == 1.3
                assert response.headers["x-trio-router-target"] == "b/y"
                assert response.headers["x-trio-router-attempts"] == "2"
                await s.stack.upstream.wait_closed_early()
                assert round(s.stack.upstream.closed_early[0].at - s.began, 3) == 1.3
                await response.aread()
            assert s.asked == [("x", 0.0), ("y", 0.8)]
            await s.at_rest()
            line = s.line
            assert line["hedged"] is True
            assert line["attempts"] == [  # in the order in which they began
                {"target": "a/x", "outcome": "gave_way", "error": None, "ms": 1300.0},
                {"target": "b/y", "outcome": "completed", "error": None, "ms": 500.0},
            ]
            assert s.metric('trio_router_hedges_total{model="y",outcome="won"') == 1

    async def test_the_first_may_win_after_all(self, autojump_clock):
        async with scene(self.HEDGED) as s:
            s.script("x", lambda: streaming(Sleep(1), *good("x").steps))
            s.script("y", lambda: streaming(Sleep(5), *good("y").steps))
            seen = await s.ask()
            assert (seen.text, seen.took) == ("x", 1)
            await s.stack.upstream.wait_closed_early()
            assert s.metric('trio_router_hedges_total{model="y",outcome="lost"') == 1

    async def test_who_answers_in_time_is_not_raced(self, autojump_clock):
        async with scene(self.HEDGED) as s:
            s.script("x", lambda: streaming(Sleep(0.7), *good("x").steps, Sleep(9)))
            assert (await s.ask()).text == "x"
            assert s.asked == [("x", 0.0)]

    async def test_when_the_first_fails_the_second_goes_on(self, autojump_clock):
        async with scene(self.HEDGED) as s:
            s.script("x", streaming(Sleep(1), Abort()))
            s.script("y", lambda: streaming(Sleep(1), *good("y").steps))
            seen = await s.ask()
            assert (seen.text, seen.took) == ("y", 1.8)

    async def test_when_both_fail_the_plan_goes_on(self, autojump_clock):
        targets = "targets: [{model: a/x}, {model: b/y}, {model: c/z}], retry: {attempts: 0}"
        async with scene(targets + ", hedge: {after: 0.8, share: 1}") as s:
            s.script("x", streaming(Sleep(1), Abort()))
            s.script("y", streaming(Sleep(1), Abort()))
            s.script("z", good("z"))
            seen = await s.ask()
            assert (seen.text, seen.took) == ("z", 1.8)
            assert seen.headers["x-trio-router-attempts"] == "3"

    async def test_a_break_after_the_race_is_told(self, autojump_clock):
        async with scene(self.HEDGED) as s:
            s.script("x", streaming(Hang()))
            s.script("y", broken(Abort()))
            seen = await s.ask()
            assert seen.error["code"] == "upstream_truncated"

    async def test_a_client_that_leaves_ends_both(self, autojump_clock):
        async with scene(self.HEDGED) as s:
            s.script("x", streaming(Hang()))
            s.script("y", streaming(Hang()))
            with trio.move_on_after(2):
                await s.ask()
            await s.stack.upstream.wait_closed_early(2)
            await s.at_rest()
            assert [a["outcome"] for a in s.line["attempts"]] == ["client_gone"] * 2

    async def test_a_client_that_stalls_ends_the_race(self, autojump_clock):
        async with scene(self.HEDGED, settings="timeouts: {stall: 5}") as s:
            s.script("x", streaming(Hang()))
            s.script("y", lambda: good("y"))
            assert (await s.ask()).text == "y"

    @pytest.mark.slow
    @pytest.mark.parametrize("after", ["p95", "1.5"])
    async def test_the_tail_of_the_first_event_falls(self, after, autojump_clock):
        """TTFT of 0.1 to 1 s, and one in twenty takes 4 to 9 s more."""

        def run_with(hedge):
            return self.long_tail(f"{TARGETS}, strategy: round_robin, first_event: 60{hedge}")

        plain, _, _ = await run_with("")
        hedged, asked, hedges = await run_with(f", hedge: {{after: {after}, share: 0.1}}")
        p95, p99 = (statistics.quantiles(plain, n=100)[q] for q in (94, 98))
        assert p99 > 3.5
        assert statistics.quantiles(hedged, n=100)[98] < min(2.6, p99)
        assert p95 > 0.9
        assert 0 < hedges <= 0.1 * len(hedged) + 1
        assert asked <= len(hedged) * 1.1 + 1

    async def long_tail(self, route):
        dice = random.Random(7)

        def slow():
            wait = dice.uniform(0.1, 1)
            if dice.random() < 0.045:
                wait += dice.uniform(4, 9)
            return streaming(Sleep(wait), *good().steps)

        async with scene(route) as s:
            s.script("x", slow)
            s.script("y", slow)
            took = []
            for _ in range(600):
                began = trio.current_time()
                async with s.stack.stream(chat("r")) as response:
                    took.append(trio.current_time() - began)
                    await response.aread()
                await trio.testing.wait_all_tasks_blocked()
                assert s.stack.upstream.open_streams == 0  # no loser outlives its request
            return took, len(s.asked), s.metric("trio_router_hedges_total")


class TestOnDisconnect:
    DRAIN = TARGETS + ", on_disconnect: {drain: {seconds: 20, max: 1}}"

    def slowly(self, seconds):
        return streaming(*sse(delta("a"), done=False), Sleep(seconds), *sse(delta("b"), STOP, USAGE))

    async def leave_after_first(self, s):
        async with await s.stack.connect() as connection:
            await connection.send_all(post(chat("r", stream=True)))
            while b"data:" not in await connection.receive_some(65536):
                pass

    async def test_the_upstream_may_end_so_that_its_usage_is_known(self, autojump_clock):
        async with scene(self.DRAIN) as s:
            s.script("x", lambda: self.slowly(15))
            await self.leave_after_first(s)
            await trio.sleep(1)
            assert s.records == []
            assert s.metric("trio_router_streams_open") == 0
            await s.stack.upstream.wait_completed()
            await s.at_rest()
            line = s.line
            assert line["outcome"] == Outcome.CLIENT_GONE
            assert (line["completion_tokens"], line["usage"]) == (5, "reported")
            assert s.router.engine.drains == 0

    async def test_a_drain_has_its_end(self, autojump_clock):
        async with scene(self.DRAIN) as s:
            s.script("x", lambda: self.slowly(25))
            await self.leave_after_first(s)
            await s.stack.upstream.wait_closed_early()
            assert round(s.stack.upstream.closed_early[0].at - s.began, 3) == 20
            await s.at_rest()
            assert s.line["usage"] == "estimated"

    async def test_beyond_the_cap_upstreams_are_cancelled(self, autojump_clock):
        async with scene(self.DRAIN) as s:
            s.script("x", lambda: self.slowly(15))
            for _ in range(3):
                await self.leave_after_first(s)
            await s.stack.upstream.wait_closed_early(2)
            assert trio.current_time() - s.began < 0.01
            await s.stack.upstream.wait_completed()
            await s.at_rest()
            assert len(s.records) == 3

    async def test_a_drained_answer_is_read_however_long_it_is(self, autojump_clock):
        many = [delta("x" * 100) for _ in range(500)]
        async with scene(self.DRAIN) as s:
            s.script("x", lambda: Answer(headers=SSE, steps=sse(*many, STOP, USAGE)))
            await self.leave_after_first(s)
            await s.stack.upstream.wait_completed()
            await s.at_rest()
            assert s.line["usage"] == "reported"

    async def test_cancel_is_the_default(self, autojump_clock):
        async with scene() as s:
            s.script("x", lambda: self.slowly(15))
            await self.leave_after_first(s)
            await s.stack.upstream.wait_closed_early()
            assert trio.current_time() - s.began < 0.01

    async def test_who_leaves_before_the_first_event_cancels(self, autojump_clock):
        async with scene(self.DRAIN) as s:
            s.script("x", streaming(Hang()))
            with trio.move_on_after(1):
                await s.ask()
            await s.stack.upstream.wait_closed_early()
            assert round(trio.current_time() - s.began, 3) == 1
            await s.at_rest()
            assert s.line["outcome"] == Outcome.CLIENT_GONE

    async def test_shutdown_ends_drains(self, autojump_clock):
        async with scene(self.DRAIN) as s:
            s.script("x", lambda: self.slowly(15))
            await self.leave_after_first(s)
            await s.router.drain(2)
            await s.stack.upstream.wait_closed_early()
            assert round(trio.current_time() - s.began, 3) == 2

    async def test_nothing_changes_for_who_stays(self, autojump_clock):
        async with scene(self.DRAIN) as s:
            s.script("x", lambda: self.slowly(15))
            assert (await s.ask()).is_clean
            assert len(s.records) == 1
            assert s.line["outcome"] == "completed"


async def test_an_answer_without_usage_is_marked_as_guessed(autojump_clock):
    async with scene() as s:
        s.script("x", good("a", "b"))
        await s.ask("a/x")
        assert s.line["usage"] == "estimated"
        whole = {**HELLO, "object": "chat.completion", "choices": [], "usage": USAGE["usage"]}
        s.script("y", json_answer(whole))
        await s.ask("b/y", stream=False)
        assert s.line["usage"] == "reported"
