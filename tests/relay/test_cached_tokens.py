"""Tokens of prompts that providers read from their caches, as each of them tells it."""

from __future__ import annotations

import pytest

from tests.chunks import SSE, STOP, delta
from tests.relay.native_events import body as native_body, told
from tests.stack import chat, memory_stack
from trio_router.demo import Answer, sse
from trio_router.demo.answers import json_answer
from trio_router.dialects.usage import cached_tokens
from trio_router.observe.log import request_fields

PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1", responses: true, models: {m: {}}}
  plain: {base_url: "http://upstream/v1", models: {m: {}}}
  anthropic: {dialect: anthropic, base_url: "http://upstream/v1", models: {m: {}}}
  gemini: {dialect: gemini, base_url: "http://upstream/v1beta", models: {m: {}}}
  cohere: {dialect: cohere, base_url: "http://upstream/v2", models: {m: {}}}
routes:
  r: {targets: [{model: plain/m}, {model: openai/m}]}
"""
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
TEXT = [{"type": "text", "text": "hi"}]
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
COUNTS = {"prompt_tokens": 100, "completion_tokens": 5}


def completion(**usage) -> dict:
    return {"object": "chat.completion", "choices": [CHOICE], "usage": {**COUNTS, **usage}}


def response(**details) -> dict:
    usage = {"input_tokens": 100, "output_tokens": 5, "input_tokens_details": details}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": [SAID],
        "usage": usage,
    }


MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": TEXT,
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 30, "cache_read_input_tokens": 70, "output_tokens": 5},
}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 70,
        "candidatesTokenCount": 5,
        "totalTokenCount": 105,
    },
}
COHERE = {
    "id": "c",
    "message": {"role": "assistant", "content": TEXT},
    "finish_reason": "COMPLETE",
    "usage": {"tokens": {"input_tokens": 100, "output_tokens": 5}, "cached_tokens": 70},
}
PATHS = {
    "images": ("/v1/images/generations", {"prompt": "a cat"}),
    "chat": ("/v1/chat/completions", {}),
    "messages": ("/v1/messages", {"max_tokens": 9}),
    "responses": ("/v1/responses", {"input": "hi"}),
}


async def counted(api: str, model: str, answer: Answer) -> tuple[float, dict]:
    """What the metric counts, and the log line, of one request."""
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda request: answer
        records: list = []
        stack.router.engine.consumers.append(records.append)
        path, more = PATHS[api]
        asks = {**chat(model), **more}
        if api == "responses":
            del asks["messages"]
        if answer.headers == SSE:
            asks["stream"] = True
        got = await stack.client.post(path, json=asks)
        assert got.status_code == 200, got.text
        text = stack.router.metrics.text().decode()
        name = "trio_router_cached_tokens_total{"
        found = sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
        return found, request_fields(records[0])


@pytest.mark.parametrize(
    ("api", "model", "answer"),
    [
        ("chat", "plain/m", completion(prompt_tokens_details={"cached_tokens": 70})),
        ("chat", "plain/m", completion(prompt_cache_hit_tokens=70, prompt_cache_miss_tokens=30)),
        ("chat", "plain/m", completion(cached_tokens=70)),
        ("chat", "r", completion(prompt_tokens_details={"cached_tokens": 70})),
        ("messages", "plain/m", completion(prompt_tokens_details={"cached_tokens": 70})),
        ("responses", "plain/m", completion(prompt_cache_hit_tokens=70)),
        ("responses", "openai/m", response(cached_tokens=70)),
        ("images", "plain/m", {"data": [], "usage": response(cached_tokens=70)["usage"]}),
        ("chat", "anthropic/m", MESSAGE),
        ("messages", "anthropic/m", MESSAGE),
        ("chat", "gemini/m", GEMINI),
        ("responses", "gemini/m", GEMINI),
        ("chat", "cohere/m", COHERE),
    ],
)
async def test_each_providers_word_for_them_counts(api, model, answer, autojump_clock):
    found, line = await counted(api, model, json_answer(answer))
    assert found == line["cached_tokens"] == 70
    assert line["prompt_tokens"] == 100


LAST = {"object": "chat.completion.chunk", "choices": [], "usage": {**COUNTS, "cached_tokens": 70}}
CHUNKS = Answer(headers=SSE, steps=sse(delta("hi"), STOP, LAST))
USED = {"input_tokens": 100, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 70}}


@pytest.mark.parametrize(
    ("api", "model", "answer"),
    [
        ("chat", "plain/m", CHUNKS),
        ("messages", "plain/m", CHUNKS),
        (
            "responses",
            "openai/m",
            native_body(told("completed", 0, "completed", output=[SAID], usage=USED)),
        ),
    ],
)
async def test_of_streams_they_are_counted_too(api, model, answer, autojump_clock):
    found, line = await counted(api, model, answer)
    assert found == line["cached_tokens"] == 70


async def test_who_says_nothing_of_a_cache_is_not_said_to_have_none(autojump_clock):
    found, line = await counted("chat", "plain/m", json_answer(completion()))
    assert (found, line["cached_tokens"]) == (0, None)


@pytest.mark.parametrize(
    ("usage", "count"),
    [
        ({}, None),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 7}, 7),
        ({"prompt_tokens_details": {"cached_tokens": 7}, "prompt_cache_hit_tokens": 7}, 7),
        ({"input_tokens_details": {"cached_tokens": 7}}, 7),
        ({"cache_read_input_tokens": 7}, 7),
        ({"prompt_tokens_details": None, "cached_tokens": True}, None),
        ({"prompt_tokens_details": [7], "cached_tokens": "7"}, None),
        ({"cached_tokens": -7}, None),
        ({"cached_tokens": 10**400}, None),
    ],
)
def test_the_places_where_they_are_told(usage, count):
    assert cached_tokens(usage) == count


async def test_counts_that_are_none_lose_no_request(autojump_clock):
    """A counter takes no negative number and no number without end."""
    for wrong in (-1, 10**400):
        _, line = await counted("chat", "plain/m", json_answer(completion(prompt_tokens=wrong)))
        assert (line["prompt_tokens"], line["completion_tokens"]) == (None, 5)
