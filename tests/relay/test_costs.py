"""What requests cost, from the provider's word to the log, the header and the metric."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tests.chunks import HELLO, SSE, STOP, delta
from tests.relay.faults import BUSY, broken, streaming
from tests.relay.native_events import body as native_body, told
from tests.relay.routes import TARGETS, scene
from tests.stack import chat, memory_stack
from trio_router.demo import Abort, Answer, Hang, Sleep, json_answer, sse
from trio_router.observe.log import request_fields

# a costs 250 and 1000 nano-dollars a token, b twice that; cached input a tenth.
PRICES = """
prices:
  a/x: {input: 0.25, output: 1, cached_input: 0.025}
  b/y: {input: 0.5, output: 2}
"""
USED = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
COST_X = 60 * 250 + 40 * 25 + 10 * 1000  # nano-dollars
COST_Y = 100 * 500 + 10 * 2000
LAST = {**HELLO, "choices": [], "usage": USED}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
WHOLE = {"object": "chat.completion", "choices": [CHOICE], "usage": USED}
METRIC = "trio_router_cost_usd_total"


def counted(text: str = "hi") -> Answer:
    return streaming(*sse(delta(text), STOP, LAST))


def nanos(record) -> list[int | None]:
    return [entry.cost for entry in record.tries]


def agree(s, cost: int) -> None:
    """The log line, the record, its tries and the metric say the same."""
    record = s.records[-1]
    assert record.cost == cost == sum(one or 0 for one in nanos(record))
    assert round(s.line["cost_usd"] * 10**9) == cost
    assert round(s.metric(METRIC) * 10**9) == cost


class TestOneAttempt:
    @pytest.mark.parametrize("model", ["a/x", "r"])
    async def test_a_whole_answer_tells_its_cost_in_a_header(self, model, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", json_answer(WHOLE))
            seen = await s.ask(model, stream=False)
            assert seen.headers["x-trio-router-cost"] == "0.000026"
            agree(s, COST_X)
            assert s.records[-1].tries[0].price_source == "prices.a/x"

    async def test_a_stream_has_it_in_the_log(self, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", counted())
            seen = await s.ask("a/x")
            assert "x-trio-router-cost" not in seen.headers
            agree(s, COST_X)

    async def test_zero_that_was_told_is_no_estimate(self, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", json_answer({**WHOLE, "usage": {"prompt_tokens": 0, "completion_tokens": 0}}))
            seen = await s.ask("a/x", stream=False)
            assert seen.headers["x-trio-router-cost"] == "0"
            assert s.line["usage"] == "reported"

    async def test_without_a_price_tokens_count_and_money_does_not(self, autojump_clock):
        async with scene() as s:
            s.script("x", json_answer(WHOLE))
            seen = await s.ask("a/x", stream=False)
            assert "x-trio-router-cost" not in seen.headers
            assert (s.line["prompt_tokens"], s.line["cost_usd"]) == (100, None)
            assert s.metric(METRIC) == 0

    async def test_usage_that_holds_no_counts_is_none(self, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", json_answer({**WHOLE, "usage": {"prompt_tokens": None}}))
            await s.ask("a/x", stream=False)
            assert s.line["usage"] == "estimated"

    async def test_a_refusal_costs_nothing_that_anybody_knows(self, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", BUSY)
            seen = await s.ask("a/x", stream=False)
            assert "x-trio-router-cost" not in seen.headers
            assert s.line["cost_usd"] is None

    async def test_who_leaves_pays_an_estimate(self, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", broken(Hang()))
            async with s.stack.stream(chat("a/x")):
                pass  # its head comes with the first event
            await s.at_rest()
            record = s.records[-1]
            assert (s.line["outcome"], s.line["usage"]) == ("client_gone", "estimated")
            assert record.cost == record.prompt_tokens * 250 + record.completion_tokens * 1000 > 0
            agree(s, record.cost)


class TestManyAttempts:
    async def test_a_retry_costs_what_its_answer_does(self, autojump_clock):
        async with scene(settings=PRICES) as s:
            s.script("x", BUSY, json_answer(WHOLE))
            seen = await s.ask(stream=False)
            assert seen.headers["x-trio-router-attempts"] == "2"
            assert nanos(s.records[-1]) == [None, COST_X]
            agree(s, COST_X)

    async def test_a_hedges_loser_that_had_said_something_is_paid_too(self, autojump_clock):
        async with scene(TARGETS + ", hedge: {after: 0.8, share: 1}", PRICES) as s:
            s.script("x", lambda: streaming(Sleep(5), *counted().steps))
            s.script("y", counted())
            await s.ask()
            assert s.line["hedged"]
            assert nanos(s.records[-1]) == [None, COST_Y]  # x had said nothing
            agree(s, COST_Y)

    async def test_a_replay_costs_both_answers(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay", PRICES) as s:
            s.script("x", broken(Abort()))
            s.script("y", counted("one two three"))
            seen = await s.ask()
            assert seen.is_clean
            record = s.records[-1]
            first, second = record.tries[-2:]
            assert first.used.is_estimated
            assert not second.used.is_estimated
            assert second.cost == COST_Y
            agree(s, first.cost + COST_Y)
            assert s.records[-1].used == first.used + second.used
            assert s.line["completion_tokens"] == first.used.output + 10
            assert s.line["usage"] == "estimated"

    async def test_an_empty_answer_is_paid_and_no_streams_header_tells_a_part(self, autojump_clock):
        async with scene(TARGETS, PRICES) as s:
            s.script("x", streaming(*sse(LAST)))
            s.script("y", counted())
            seen = await s.ask()
            assert seen.headers["x-trio-router-target"] == "b/y"
            assert "x-trio-router-cost" not in seen.headers
            paid = nanos(s.records[-1])
            assert paid[0] == COST_X
            agree(s, sum(paid))

    async def test_one_unknown_price_makes_the_sum_unknown(self, autojump_clock):
        only_y = "prices: {b/y: {input: 0.5, output: 2}}\n"
        async with scene(TARGETS + ", midstream: replay", only_y) as s:
            s.script("x", broken(Abort()))
            s.script("y", counted("one two three"))
            await s.ask()
            assert s.line["cost_usd"] is None
            assert nanos(s.records[-1])[-1] == COST_Y
            assert round(s.metric(METRIC) * 10**9) == COST_Y  # b's, which is known


PRICE = "input: 0.3, output: 1.7, cached_input: 0.03, cache_write: 0.4, cache_write_1h: 0.6"
PROVIDERS = (
    f"""
prices: {{a/*: {{{PRICE}}}, m/*: {{{PRICE}, searches: 10}}}}
"""
    """
providers:
  a: {base_url: "http://upstream/v1", responses: true}
  m: {dialect: anthropic, base_url: "http://upstream/v1", models: {m: {}}}
routes:
  r: {targets: [{model: a/one}, {model: a/two}], cooldown: {failures: 1000}}
"""
)
RATES = {"input": "0.3", "output": "1.7", "cached": "0.03", "written": "0.4", "hour": "0.6"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}


class Provider:
    """Answers at random in the API that it is asked in, and writes its own invoice."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.invoice = Fraction()
        self.answers = 0

    def counts(self) -> dict[str, int]:
        names = ("fresh", "cached", "written", "hour", "output")
        found = {name: self.random.choice((0, self.random.randrange(1, 90_000))) for name in names}
        self.answers += 1
        return found

    def charge(self, n: dict[str, int], searches: int = 0) -> None:
        sums = {"input": "fresh", "cached": "cached", "written": "written", "hour": "hour",
                "output": "output"}  # fmt: skip
        cost = sum(Fraction(RATES[rate]) * n[name] for rate, name in sums.items()) * 1000
        self.invoice += round(cost) + searches * 10_000_000

    def __call__(self, request) -> Answer:
        if self.random.random() < 0.2:
            return BUSY
        n = self.counts()
        if request.path.endswith("/messages"):
            return self.messages(n)
        n["written"] = n["hour"] = 0
        if request.path.endswith("/embeddings"):
            n["output"] = n["cached"] = 0
            self.charge(n)
            usage = {"prompt_tokens": n["fresh"], "total_tokens": n["fresh"]}
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            return json_answer({"object": "list", "data": data, "usage": usage})
        self.charge(n)
        asked = n["fresh"] + n["cached"]
        if request.path.endswith("/responses"):
            details = {"cached_tokens": n["cached"]}
            usage = {
                "input_tokens": asked,
                "output_tokens": n["output"],
                "input_tokens_details": details,
            }
            return native_body(told("completed", 0, "completed", output=[SAID], usage=usage))
        usage = {"prompt_tokens": asked, "completion_tokens": n["output"],
                 "prompt_tokens_details": {"cached_tokens": n["cached"]}}  # fmt: skip
        if request.json.get("stream"):
            return Answer(headers=SSE, steps=sse(delta("hi"), STOP, {**LAST, "usage": usage}))
        return json_answer({**WHOLE, "usage": usage})

    def messages(self, n: dict[str, int]) -> Answer:
        searches = self.random.randrange(3)
        self.charge(n, searches)
        usage = {
            "input_tokens": n["fresh"],
            "cache_read_input_tokens": n["cached"],
            "cache_creation_input_tokens": n["written"] + n["hour"],
            "cache_creation": {
                "ephemeral_5m_input_tokens": n["written"],
                "ephemeral_1h_input_tokens": n["hour"],
            },
            "output_tokens": n["output"],
            "server_tool_use": {"web_search_requests": searches},
        }
        text = [{"type": "text", "text": "hi"}]
        return json_answer({"type": "message", "role": "assistant", "content": text,
                            "stop_reason": "end_turn", "usage": usage})  # fmt: skip


async def ask_something(stack, chance: random.Random) -> None:
    model = chance.choice(["a/one", "a/new", "r"])
    kind = chance.choice(["chat", "stream", "messages", "native messages", "responses", "embeddings"])
    if kind == "embeddings":
        await stack.client.post("/v1/embeddings", json={"model": model, "input": "hi"})
    elif kind == "responses":
        body = {"model": "a/one", "input": "hi", "stream": True}
        await stack.client.post("/v1/responses", json=body)
    elif "messages" in kind:
        body = {**chat("m/m" if kind.startswith("native") else model), "max_tokens": 9}
        await stack.client.post("/v1/messages", json=body)
    else:
        await stack.ask({**chat(model), "stream": kind == "stream"})


@pytest.mark.parametrize("seed", range(3))
async def test_the_log_equals_the_providers_own_invoice(seed, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        provider = stack.upstream.script = Provider(seed)
        records: list = []
        stack.router.engine.consumers.append(records.append)
        chance = random.Random(seed)
        for _ in range(100):
            await ask_something(stack, chance)
        lines = [request_fields(record) for record in records]
        assert len(lines) == 100
        assert provider.answers > 50
        assert sum(round((line["cost_usd"] or 0) * 10**9) for line in lines) == provider.invoice
        text = stack.router.metrics.text().decode()
        found = [float(one.split()[-1]) for one in text.splitlines() if one.startswith(METRIC + "{")]
        assert round(sum(found) * 10**9) == provider.invoice


async def test_counting_tokens_costs_nothing(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda request: json_answer({"input_tokens": 12})
        records: list = []
        stack.router.engine.consumers.append(records.append)
        got = await stack.client.post("/v1/messages/count_tokens", json=chat("m/m"))
        assert got.headers["x-trio-router-cost"] == "0"
        assert (records[0].cost, records[0].is_estimated) == (0, False)
