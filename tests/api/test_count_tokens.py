"""`POST /v1/messages/count_tokens` on every kind of target."""

from __future__ import annotations

import json

import pytest

from tests.booked import Booked
from tests.stack import memory_stack
from trio_router.demo import Abort, Answer
from trio_router.demo.answers import error_answer, json_answer
from trio_router.observe.record import Outcome
from trio_router.relay.counting import estimated_tokens

PROVIDERS = """
providers:
  claude: {dialect: anthropic, base_url: "http://upstream/v1", api_key: sk-ant}
  gemini: {dialect: gemini, base_url: "http://upstream/v1beta"}
  vertex: {dialect: gemini, base_url: "http://upstream/v1/projects/p/locations/global/publishers/google"}
  own: {base_url: "http://upstream/v1", models: {m: {upstream_model: qwen, defaults: {top_k: 3}}}}
  rootless: {base_url: "http://upstream"}
  cloud: {base_url: "http://upstream/v1", tokenize: false}
  local: {dialect: ollama, base_url: "http://upstream"}
  co: {dialect: cohere, base_url: "http://upstream/v2"}
routes:
  agent: {targets: [{model: claude/opus}], midstream: replay}
  both: {targets: [{model: own/m}, {model: local/m}]}
"""
COUNT = "/v1/messages/count_tokens"
TOOL = {"name": "read", "description": "Reads.", "input_schema": {"type": "object"}}
ASK = {
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "text"}],
        },
    ],
    "tools": [TOOL],
    "thinking": {"type": "enabled", "budget_tokens": 2048},
}
MARK = "x-trio-router-estimated"


async def count(stack, model: str, **more):
    return await stack.client.post(COUNT, json={"model": model, **ASK, **more})


@pytest.mark.parametrize("model", ["claude/opus", "agent"])
async def test_anthropic_counts_itself_also_behind_a_route_that_replays(model, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"input_tokens": 8})
        response = await count(stack, model)
        seen = stack.upstream.requests[0]
    assert (response.json(), MARK in response.headers) == ({"input_tokens": 8}, False)
    assert seen.path == COUNT
    assert seen.json == {**ASK, "model": "opus"}


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
async def test_gemini_counts_with_its_own_endpoint(provider, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"totalTokens": 31})
        response = await count(stack, f"{provider}/gemini-3-pro")
        seen = stack.upstream.requests[0]
    assert (response.json(), MARK in response.headers) == ({"input_tokens": 31}, False)
    assert seen.path.endswith("/models/gemini-3-pro:countTokens")
    asked = seen.json
    if provider == "gemini":
        assert list(asked) == ["generateContentRequest"]
        asked = asked["generateContentRequest"]
        assert asked.pop("model") == "models/gemini-3-pro"
    assert set(asked) == {"contents", "systemInstruction", "tools"}
    assert [turn["role"] for turn in asked["contents"]] == ["user", "model", "user"]


@pytest.mark.parametrize("says", [{"count": 12, "tokens": [1]}, {"tokens": [5] * 12}])
@pytest.mark.parametrize("model", ["own/m", "rootless/qwen"])
async def test_servers_of_ones_own_count_beside_their_v1(model, says, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(says)
        response = await count(stack, model)
        seen = stack.upstream.requests[0]
    assert (response.json(), MARK in response.headers) == ({"input_tokens": 12}, False)
    assert seen.path == "/tokenize"
    assert seen.json["model"] == "qwen"
    assert [m["role"] for m in seen.json["messages"]] == ["system", "user", "assistant", "tool"]
    assert seen.json["tools"][0]["function"]["name"] == "read"  # vLLM renders them
    for text in ("Be brief.", "hello", "Reads.", '\\"path\\"'):  # llama.cpp has but the text
        assert text in seen.json["content"]


@pytest.mark.parametrize("model", ["cloud/m", "local/m", "co/m"])
async def test_who_has_no_such_endpoint_is_not_asked(model, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        booked = Booked(stack.router)
        response = await count(stack, model)
        assert response.headers[MARK] == "true"
        assert 20 < response.json()["input_tokens"] < 200
        assert stack.upstream.requests == []
        assert (await booked.next()).outcome == Outcome.COMPLETED


@pytest.mark.parametrize(
    "answer",
    [
        error_answer(404, "no", "x"),
        error_answer(405, "no", "x"),
        error_answer(401, "no", "x"),
        error_answer(500, "no", "x"),
        json_answer({"hello": "world"}),
        Answer(headers=[("content-type", "text/html")]),
    ],
)
async def test_a_server_that_turns_out_to_have_none_is_asked_once(answer, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: answer
        for _ in range(3):
            response = await count(stack, "own/m")
            assert response.status_code == 200
            assert response.headers[MARK] == "true"
            assert (await booked.next()).outcome == Outcome.COMPLETED
        assert len(stack.upstream.requests) == 1


async def test_an_api_like_anthropics_without_that_endpoint_is_estimated(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: error_answer(404, "no", "not_found")
        assert (await count(stack, "claude/opus")).headers[MARK] == "true"
        assert (await count(stack, "claude/other")).headers[MARK] == "true"
        assert len(stack.upstream.requests) == 2  # it may have been the model


@pytest.mark.parametrize(
    ("model", "answer", "status"),
    [
        ("claude/opus", error_answer(400, "bad", "x"), 400),
        ("claude/opus", error_answer(529, "full", "x"), 529),
        ("gemini/g", error_answer(401, "key", "x"), 502),
        ("own/m", Answer(steps=[Abort()]), 503),
    ],
)
async def test_other_errors_are_told(model, answer, status, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: answer
        response = await count(stack, model)
    assert response.status_code == status
    assert response.json()["type"] == "error"


async def test_a_route_whose_targets_cannot_count_is_estimated(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: error_answer(404, "no", "x")
        response = await count(stack, "both")
    assert (response.status_code, response.headers[MARK]) == (200, "true")


@pytest.mark.parametrize("field", [{"messages": "hello"}, {"messages": []}, {"tools": {}}])
async def test_a_wrong_request_is_refused_whoever_counts(field, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        for model in ("local/m", "own/m", "claude/m"):
            response = await count(stack, model, **field)
            assert response.status_code == 400
            assert response.json()["error"]["type"] == "invalid_request_error"
        assert stack.upstream.requests == []


class TestAnEstimate:
    def test_is_near_four_bytes_a_token(self):
        text = "The quick brown fox jumps over the lazy dog. " * 100
        assert estimated_tokens([{"role": "user", "content": text}]) == pytest.approx(1125, rel=0.02)

    def test_counts_a_picture_as_one_whatever_its_size(self):
        def picture(data: str):
            source = {"type": "base64", "media_type": "image/png", "data": data}
            return [{"type": "image", "source": source}]

        small, large = estimated_tokens(picture("a")), estimated_tokens(picture("a" * 1_000_000))
        assert small == large
        assert 1600 <= large < 1700
        assert 1600 <= estimated_tokens({"url": "data:image/png;base64," + "a" * 99_999}) < 1700

    def test_counts_a_document_of_text_as_text(self):
        source = {"type": "text", "media_type": "text/plain", "data": "word " * 4000}
        assert estimated_tokens(source) == pytest.approx(5000, rel=0.02)

    @pytest.mark.parametrize("value", [None, [], {}, "", [None, 1, True, 1.5], "\ud800"])
    def test_is_at_least_one(self, value):
        assert estimated_tokens(value) >= 1

    def test_takes_any_depth(self):
        assert estimated_tokens(json.loads("[" * 900 + "]" * 900)) >= 1
