"""A budget holds while the stream runs, and costs nobody more than the answer did."""

from __future__ import annotations

import pytest
import trio

from tests.policy.counted import PRICES, STORE, TOKEN, at_once, budget, counted_stack, keys, usd
from tests.stack import PROVIDERS, text_of
from trio_router.ledger.rows import RowState

UNPRICED = PROVIDERS + "  new: {base_url: http://upstream/v1}\n"


class TestStrict:
    async def test_the_worst_case_is_held_before_the_request(self, autojump_clock):
        async with counted_stack(keys(budget(1000, mode="strict"))) as s:
            refused = await s.ask(max_tokens=1001)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "insufficient_quota"
            assert refused.headers["x-should-retry"] == "false"
            assert (await s.ask(max_tokens=1000)).status_code == 200
            assert s.refusals("key_budget") == 1

    async def test_it_is_never_exceeded(self, autojump_clock):
        """A tenth of the clients fits: each may say 100 tokens, and does."""
        async with counted_stack(keys(budget(1000, mode="strict"))) as s:
            codes = await at_once(s, 100, "any/echo-c100-f50", max_tokens=100)
            assert codes.count(200) == 10
            assert await s.spent() == 1000 * TOKEN

    async def test_without_a_price_it_refuses(self, autojump_clock):
        async with counted_stack(keys(budget(1000, mode="strict")), UNPRICED) as s:
            refused = await s.ask("new/echo")
            assert refused.status_code == 403
            assert "no price of new/echo" in refused.json()["error"]["message"]

    async def test_what_was_not_used_is_there_for_the_next(self, autojump_clock):
        async with counted_stack(keys(budget(1000, mode="strict"))) as s:
            for _ in range(20):
                assert (await s.ask("any/echo-c4", max_tokens=500)).status_code == 200
            assert await s.spent() == 80 * TOKEN


class TestAdaptive:
    async def test_agents_are_not_blocked_by_what_they_might_say(self, autojump_clock):
        """50 at once ask for up to 64,000 tokens and use 500, on a budget for 60 such answers."""
        async with counted_stack(keys(budget(60 * 500))) as s:
            codes = await at_once(s, 50, "any/echo-c500-f100", max_tokens=64000)
            assert codes == [200] * 50
            assert await s.spent() == 50 * 500 * TOKEN

    async def test_strict_says_why_it_does_not(self, autojump_clock):
        async with counted_stack(keys(budget(60 * 500, mode="strict"))) as s:
            refused = await s.ask("any/echo-c500", max_tokens=64000)
            assert refused.status_code == 429
            assert "no room for this request" in refused.json()["error"]["message"]

    async def test_a_stream_that_outruns_the_budget_ends_with_an_honest_error(self, autojump_clock):
        async with counted_stack(keys(budget(1000))) as s:
            status, told = await s.streamed("any/echo-c5000-d10")
            assert status == 200
            assert told[-1]["error"]["code"] == "insufficient_quota"
            assert "[DONE]" not in told
            said = len(text_of(told[:-1]).split())
            assert 800 < said <= 1000
            [row] = await s.rows()
            assert row.state is RowState.SETTLED
            assert row.cost <= 1001 * TOKEN
            assert (await s.own_key())["budgets"][0]["held_usd"] == 0

    async def test_many_streams_exceed_it_by_at_most_one_top_up_in_all(self, autojump_clock):
        async with counted_stack(keys(budget(5000))) as s:
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(s.streamed, "any/echo-c2000-d5")
            assert 4000 * TOKEN < await s.spent() <= (5000 + 128) * TOKEN

    async def test_within_grace_a_stream_may_finish(self, autojump_clock):
        async with counted_stack(keys(budget(400, grace=5))) as s:
            _, told = await s.streamed("any/echo-c600-d5")
            assert told[-1] == "[DONE]"
            assert await s.spent() == 600 * TOKEN
            assert (await s.ask()).status_code == 429

    async def test_after_grace_it_ends(self, autojump_clock):
        async with counted_stack(keys(budget(400, grace=5))) as s:
            _, told = await s.streamed("any/echo-c6000-d10")
            assert told[-1]["error"]["code"] == "insufficient_quota"
            assert 800 < len(text_of(told[:-1]).split()) < 1000

    async def test_what_is_usual_is_learned(self, autojump_clock):
        """After 20 short answers, short ones are held: many more fit at once."""
        async with counted_stack(keys(budget(2560))) as s:
            for _ in range(20):
                await s.ask("any/echo-c10-f50")
            codes = await at_once(s, 100, "any/echo-c10-f50")
            assert codes == [200] * 100

    async def test_without_a_price_tokens_are_counted_and_it_is_said(self, autojump_clock):
        async with counted_stack(keys(budget(10)), UNPRICED) as s:
            assert (await s.ask("new/echo-c500")).status_code == 200
            [row] = await s.rows()
            assert (row.cost, row.is_unpriced, row.attempts[0].used.output) == (0, True, 500)


class TestSoft:
    async def test_it_warns_and_refuses_nothing(self, autojump_clock):
        async with counted_stack(keys(budget(100, mode="soft"))) as s:
            assert "x-trio-router-over-budget" not in (await s.ask("any/echo-c4", max_tokens=5)).headers
            await s.ask("any/echo-c200")
            await trio.sleep(1.5)
            last = await s.ask("any/echo-c4")
            assert (last.status_code, last.headers["x-trio-router-over-budget"]) == (200, "key")


class TestWindows:
    async def test_a_new_window_begins_with_nothing_spent(self, autojump_clock):
        async with counted_stack(keys(budget(100))) as s:
            assert (await s.ask("any/echo-c90", max_tokens=100)).status_code == 200
            assert (await s.ask("any/echo-c90", max_tokens=100)).status_code == 429
            told = (await s.own_key())["budgets"][0]
            now = s.router.clock.wall()
            assert (told["per"], told["spent_usd"]) == ("day", 90 / 1e6)
            assert now < told["resets_at"] <= now + 86400

    async def test_several_budgets_hold_together(self, autojump_clock):
        settings = f"""{STORE}{PRICES}
auth:
  keys:
    - {{name: a, key: k1, team: t, budgets: [{{usd: {usd(100)}, per: total}}]}}
    - {{key: k2, team: t}}
teams: {{t: {{budgets: [{{usd: {usd(150)}}}, {{usd: {usd(10000)}, per: total}}]}}}}
"""
        async with counted_stack(settings) as s:
            asks = [("k1", 100), ("k1", 10), ("k2", 60), ("k2", 50)]
            codes = [
                (await s.ask(f"any/echo-c{n}", key=key, max_tokens=n)).status_code for key, n in asks
            ]
            assert codes == [200, 429, 429, 200]
            assert await s.spent() == 150 * TOKEN


class TestProviders:
    PROVIDERS = f"""
providers:
  a: {{base_url: "http://upstream/v1", budgets: [{{usd: {usd(100)}, per: total}}]}}
  b: {{base_url: "http://upstream/v1"}}
routes: {{r: {{targets: [{{model: a/echo-c60}}, {{model: b/echo-c60}}]}}}}
"""
    SETTINGS = f"{STORE}prices: {{a/*: {{input: 0, output: 1}}, b/*: {{input: 0, output: 1}}}}"

    async def test_a_route_goes_on_when_a_providers_money_is_used_up(self, autojump_clock):
        async with counted_stack(self.SETTINGS, self.PROVIDERS) as s:
            answers = [await s.ask("r", max_tokens=60) for _ in range(3)]
            targets = [a.headers["x-trio-router-target"] for a in answers]
            assert targets == ["a/echo-c60", "b/echo-c60", "b/echo-c60"]
            rows = await s.rows()
            assert [list(row.charges.values()) for row in rows] == [[60 * TOKEN], [], []]

    async def test_who_names_the_target_is_told(self, autojump_clock):
        async with counted_stack(self.SETTINGS, self.PROVIDERS) as s:
            await s.ask("a/echo-c60", max_tokens=60)
            refused = await s.ask("a/echo-c60", max_tokens=60)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "insufficient_quota"
            assert refused.headers["x-should-retry"] == "false"


class TestRows:
    async def test_all_attempts_of_a_request_stand_in_its_row(self, autojump_clock):
        providers = """
providers:
  a: {base_url: "http://upstream/v1"}
  b: {base_url: "http://upstream/v1"}
routes: {r: {targets: [{model: a/echo-c9-x5}, {model: b/echo-c9}], midstream: replay}}
"""
        settings = f"{STORE}prices: {{a/*: {{input: 0, output: 1}}, b/*: {{input: 0, output: 2}}}}"
        async with counted_stack(settings, providers) as s:
            _, told = await s.streamed("r")
            assert told[-1] == "[DONE]"
            [row] = await s.rows()
            assert [(a.target, a.cost) for a in row.attempts] == [
                ("a/echo-c9-x5", 6 * TOKEN),  # as many events came
                ("b/echo-c9", 18 * TOKEN),
            ]
            assert row.attempts[0].used.is_estimated
            assert (row.model, row.cost, row.is_estimated) == ("r", 24 * TOKEN, True)
            assert (row.status, row.outcome) == (200, "completed")

    async def test_who_leaves_pays_an_estimate_and_holds_nothing(self, autojump_clock):
        async with counted_stack(keys(budget(10_000))) as s:
            async with s.stream("any/echo-c500-d100"):
                await trio.sleep(1)
            [row] = await s.rows()
            assert (row.outcome, row.state) == ("client_gone", RowState.SETTLED)
            assert row.is_estimated
            assert 0 < row.cost < 20 * TOKEN
            await trio.sleep(3)
            assert (await s.own_key())["budgets"][0]["held_usd"] == 0

    async def test_a_running_stream_stands_in_the_store_with_what_it_cost_so_far(self, autojump_clock):
        async with counted_stack(keys(budget(100_000))) as s:
            async with s.stream("any/echo-c400-d100") as response, trio.open_nursery() as nursery:
                nursery.start_soon(response.aread)
                await trio.sleep(20)
                [row] = await s.rows()
                assert row.state is RowState.RESERVED
                assert 150 * TOKEN < row.cost < 230 * TOKEN
                nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("path", ["embeddings", "messages", "responses", "completions"])
    async def test_every_api_has_its_row(self, path, autojump_clock):
        bodies = {
            "embeddings": {"input": "x"},
            "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
            "responses": {"input": "x"},
            "completions": {"prompt": "x"},
        }
        async with counted_stack(keys("limits: {requests_per_minute: 1}")) as s:
            for status in (200, 429):
                headers = {"authorization": "Bearer k1"}
                body = {"model": "any/echo", **bodies[path]}
                answer = await s.client.post(f"/v1/{path}", json=body, headers=headers)
                if answer.status_code != 404:  # the scripted upstream may not have it
                    assert answer.status_code == status
            [row] = await s.rows()
            assert row.key == "web"
