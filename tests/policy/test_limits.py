"""How often, how much at a time, and which models: what a key and its team may ask."""

from __future__ import annotations

import pytest
import trio

from tests.policy.counted import PRICES, STORE, counted_stack, keys
from tests.stack import memory_stack


class TestRequestsAMinute:
    async def test_one_too_many_is_refused_until_the_time_that_is_told(self, autojump_clock):
        async with counted_stack(keys("limits: {requests_per_minute: 3}")) as s:
            for _ in range(3):
                assert (await s.ask()).status_code == 200
                await trio.sleep(5)
            refused = await s.ask()
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert refused.json()["error"]["type"] == "rate_limit_error"
            patience = int(refused.headers["retry-after"])
            assert patience == 45  # 60 s after the first
            await trio.sleep(patience - 2)
            assert (await s.ask()).status_code == 429
            await trio.sleep(2)
            assert (await s.ask()).status_code == 200
            assert s.refusals("key_requests") == 2

    async def test_good_answers_tell_how_near_the_limit_is(self, autojump_clock):
        async with counted_stack(keys("limits: {requests_per_minute: 3}")) as s:
            for left in (2, 1, 0):
                headers = (await s.ask()).headers
                assert headers["x-ratelimit-limit-requests"] == "3"
                assert headers["x-ratelimit-remaining-requests"] == str(left)
            refused = (await s.ask()).headers
            assert refused["x-ratelimit-remaining-requests"] == "0"
            assert refused["x-ratelimit-reset-requests"] == f"{refused['retry-after']}s"

    async def test_a_stream_tells_it_too(self, autojump_clock):
        async with counted_stack(keys("limits: {requests_per_minute: 3}")) as s:
            async with s.stream("any/echo") as response:
                assert response.headers["x-ratelimit-remaining-requests"] == "2"

    async def test_a_refused_request_counts_nothing_and_has_no_row(self, autojump_clock):
        async with counted_stack(keys("limits: {requests_per_minute: 1, parallel: 1}")) as s:
            for _ in range(4):
                await s.ask()
            assert len(await s.rows()) == 1
            assert [level["used"] for level in (await s.own_key())["limits"]] == [1, 0]

    async def test_keys_of_one_team_share_its_limit(self, autojump_clock):
        settings = f"""{STORE}
auth: {{keys: [{{name: a, key: k1, team: t}}, {{name: b, key: k2, team: t}}, {{name: c, key: k3}}]}}
teams: {{t: {{limits: {{requests_per_minute: 2}}}}}}
"""
        async with counted_stack(settings) as s:
            codes = [(await s.ask(key=key)).status_code for key in ("k1", "k2", "k1", "k2", "k3")]
            assert codes == [200, 200, 429, 429, 200]
            assert "this key's team" in (await s.ask()).json()["error"]["message"]

    async def test_a_model_may_have_limits_of_its_own_for_a_key(self, autojump_clock):
        limits = 'model_limits: {"any/echo-*": {requests_per_minute: 1}}'
        async with counted_stack(keys(limits)) as s:
            names = ("any/echo-c1", "any/echo-c1", "any/echo-c2", "any/echo", "any/echo")
            assert [(await s.ask(name)).status_code for name in names] == [200, 429, 200, 200, 200]

    async def test_no_sliding_minute_has_more_than_the_limit_and_none_has_less(self, autojump_clock):
        """Clients ask all the time, over two minutes."""
        async with counted_stack(keys("limits: {requests_per_minute: 40}")) as s:
            served: list[float] = []

            async def keep_asking(pause: float) -> None:
                while True:
                    now = trio.current_time()
                    if (await s.ask()).status_code == 200:
                        served.append(now)
                    await trio.sleep(pause)

            with trio.move_on_after(125):
                async with trio.open_nursery() as nursery:
                    for pause in (0.13, 0.7):
                        nursery.start_soon(keep_asking, pause)
            ends = [at for at in served if at >= served[0] + 60]
            full = [sum(end - 60 < at <= end for at in served) for end in ends]
            assert 39 <= min(full) <= max(full) <= 40


class TestParallel:
    async def test_a_slot_is_free_when_its_request_has_ended(self, autojump_clock):
        async with counted_stack(keys("limits: {parallel: 2}")) as s:
            async with s.stream("any/echo-c5-d1000"), s.stream("any/echo-c5-d1000"):
                refused = await s.ask()
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            await trio.sleep(0.1)  # both have left
            assert (await s.ask()).status_code == 200
            await trio.sleep(3)
            assert [level["used"] for level in (await s.own_key())["limits"]] == [0]

    async def test_never_more_run_than_may(self, autojump_clock):
        async with counted_stack(keys("limits: {parallel: 7}")) as s:
            codes = []

            async def one() -> None:
                codes.append((await s.ask("any/echo-f500")).status_code)

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one)
            assert (codes.count(200), codes.count(429)) == (7, 43)


class TestTokensAMinute:
    async def test_what_was_guessed_is_put_right(self, autojump_clock):
        async with counted_stack(keys("limits: {tokens_per_minute: 1000}")) as s:
            for _ in range(10):  # each is thought to have 256 tokens, and has 6
                assert (await s.ask()).status_code == 200
            await trio.sleep(4)
            [level] = (await s.own_key())["limits"]
            assert level["used"] == 60

    async def test_long_answers_use_it_up(self, autojump_clock):
        async with counted_stack(keys("limits: {tokens_per_minute: 1000}")) as s:
            assert (await s.ask("any/echo-c900")).status_code == 200
            await trio.sleep(0.1)
            assert (await s.ask("any/echo", max_tokens=50)).status_code == 200
            refused = await s.ask("any/echo", max_tokens=300)
            assert (refused.status_code, refused.headers["x-ratelimit-limit-tokens"]) == (429, "1000")

    async def test_a_request_that_never_fits_is_told_so(self, autojump_clock):
        async with counted_stack(keys("limits: {tokens_per_minute: 100}")) as s:
            refused = await s.ask(max_tokens=5000)
            assert refused.status_code == 429
            assert refused.headers["x-should-retry"] == "false"
            assert "retry-after" not in refused.headers


class TestTargets:
    PROVIDERS = """
providers:
  a: {base_url: "http://upstream/v1", limits: {requests_per_minute: 1}}
  b: {base_url: "http://upstream/v1", models: {echo: {limits: {requests_per_minute: 1}}, echo-c1: {}}}
routes: {r: {targets: [{model: a/echo}, {model: b/echo}]}}
"""

    async def test_a_route_goes_on_where_a_provider_has_a_limit(self, autojump_clock):
        async with counted_stack(STORE, self.PROVIDERS) as s:
            answers = [await s.ask("r") for _ in range(3)]
            assert [a.status_code for a in answers] == [200, 200, 429]
            assert [a.headers.get("x-trio-router-target") for a in answers[:2]] == ["a/echo", "b/echo"]
            assert s.refusals("provider_requests") == 2
            assert s.refusals("model_requests") == 1

    async def test_no_circuit_opens_for_it(self, autojump_clock):
        async with counted_stack(STORE, self.PROVIDERS) as s:
            for _ in range(20):
                await s.ask("r")
            await trio.sleep(61)
            assert (await s.ask("r")).headers["x-trio-router-target"] == "a/echo"

    async def test_who_names_the_target_is_refused(self, autojump_clock):
        async with counted_stack(STORE, self.PROVIDERS) as s:
            names = ("a/echo", "a/echo-c1", "b/echo-c1", "b/echo-c1")
            assert [(await s.ask(name)).status_code for name in names] == [200, 429, 200, 200]


class TestModels:
    async def test_a_model_that_is_not_allowed_is_refused_with_those_that_are(self, autojump_clock):
        settings = f"""{PRICES}
auth: {{keys: [{{key: k1, models: ["any/echo*", r]}}, {{key: k2, team: t}}]}}
teams: {{t: {{models: [any/echo]}}}}
routes: {{r: {{targets: [{{model: deepseek/chat}}]}}}}
"""
        async with counted_stack(settings) as s:
            refused = await s.ask("deepseek/chat")
            assert refused.status_code == 403
            error = refused.json()["error"]
            assert (error["code"], error["param"]) == ("model_not_allowed", "model")
            assert "any/echo*, r" in error["message"]
            assert (await s.ask("any/echo-c1")).status_code == 200
            assert (await s.ask("r")).status_code == 200
            assert (await s.ask("any/echo-c1", key="k2")).status_code == 403
            assert (await s.ask("any/echo", key="k2")).status_code == 200
            assert s.keeper is None  # nothing has to be counted for that

    async def test_an_expired_key_is_not_valid(self, autojump_clock):
        settings = "auth: {keys: [{key: k1, expires: 2020-01-31}, {key: k2, expires: 2999-01-31}]}"
        async with counted_stack(settings) as s:
            refused = await s.ask()
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
            assert "expired" in refused.json()["error"]["message"]
            assert (await s.ask(key="k2")).status_code == 200


class TestOff:
    @pytest.mark.parametrize("settings", ["", "auth: {keys: [k1, {name: web, key: k2}]}"])
    async def test_nothing_is_there_that_nobody_needs(self, settings, autojump_clock):
        async with memory_stack(settings) as stack:
            assert stack.router.generation.policies is None
            assert stack.router.counting.keeper is None
