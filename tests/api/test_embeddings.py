"""`POST /v1/embeddings` and `POST /v1/messages/count_tokens` through the running router."""

from __future__ import annotations

import json

import pytest

from tests.booked import Booked
from tests.connections import leave, raw_client
from tests.stack import memory_stack, real_stack
from trio_router.demo import Answer, Hang, Send
from trio_router.demo.answers import error_answer, json_answer
from trio_router.observe.record import Outcome

PROVIDERS = """
providers:
  open:
    base_url: http://upstream/v1
    api_key: sk-upstream-secret
    models: {small: {upstream_model: text-embedding-3-small, options: {dimensions: 8}}}
  local: {dialect: ollama, base_url: "http://upstream"}
  claude:
    dialect: anthropic
    base_url: http://upstream/v1
    api_key: sk-upstream-secret
    models: {sonnet: {upstream_model: claude-sonnet-5, defaults: {max_tokens: 100}}}
"""
RAW = b'{ "object": "list", "data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5} }'


def raw_answer(data: bytes) -> Answer:
    return Answer(200, (("content-type", "application/json"),), (Send(data),), "length")


async def test_openais_answer_passes_as_it_is_and_its_tokens_are_counted(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: raw_answer(RAW)
        asked = {"model": "open/small", "input": ["a"], "user": "u", "new_field": [1]}
        response = await stack.client.post("/v1/embeddings", json=asked)
        assert (response.status_code, response.content) == (200, RAW)
        assert response.headers["x-trio-router-target"] == "open/small"
        assert response.headers["content-type"] == "application/json"
        seen = stack.upstream.requests[0]
        assert seen.path == "/v1/embeddings"
        assert seen.headers["authorization"] == "Bearer sk-upstream-secret"
        assert seen.json == {**asked, "model": "text-embedding-3-small", "dimensions": 8}
        record = await booked.next()
        assert (record.outcome, record.prompt_tokens) == (Outcome.COMPLETED, 5)


async def test_ollamas_answer_is_told_in_openais_shape(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(
            {"model": "m", "embeddings": [[0.25]], "prompt_eval_count": 2}
        )
        response = await stack.client.post("/v1/embeddings", json={"model": "local/m", "input": "a"})
        assert response.json()["data"] == [{"object": "embedding", "index": 0, "embedding": [0.25]}]
        assert stack.upstream.requests[0].path == "/api/embed"


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "claude/sonnet", "input": "a"}, 400, "invalid_request", "model"),
        ({"model": "local/m", "input": [1]}, 400, "invalid_request", "input"),
        ({"model": "local/m"}, 400, "invalid_request", "input"),
        ({"model": "nowhere/m", "input": "a"}, 404, "model_not_found", "model"),
        ([], 400, "invalid_request", None),
    ],
)
async def test_what_cannot_be_is_refused_in_openais_shape(autojump_clock, body, status, code, param):
    async with memory_stack(providers=PROVIDERS) as stack:
        response = await stack.client.post("/v1/embeddings", json=body)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (status, code, param)
        assert stack.upstream.requests == []


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (error_answer(401, "your key sk-upstream-secret", "x"), 502, "provider_auth_error"),
        (error_answer(429, "slow down", "rate_limit"), 429, "rate_limit"),
        (Answer(steps=[Hang()]), 504, "provider_timeout"),
        (raw_answer(b"nonsense"), 502, "malformed_json"),
    ],
)
async def test_an_upstreams_errors_are_told_as_those_of_a_chat(autojump_clock, answer, status, code):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: answer
        response = await stack.client.post("/v1/embeddings", json={"model": "open/small", "input": "a"})
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert "sk-upstream-secret" not in response.text


async def test_many_long_vectors_are_no_too_large_answer():
    data = b'{"data":[{"embedding":"' + b"A" * (20 << 20) + b'"}],"usage":{"prompt_tokens":1}}'
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: raw_answer(data)
        response = await stack.client.post("/v1/embeddings", json={"model": "open/small", "input": "a"})
        assert response.content == data


async def test_a_client_that_leaves_releases_the_upstream():
    async with real_stack(providers=PROVIDERS) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: Answer(steps=[Hang()])
        connection = await raw_client(stack)
        body = json.dumps({"model": "local/m", "input": "a"}).encode()
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        await connection.send_all(head + body)
        await stack.upstream.wait_open(1)
        leave(connection, "close")
        await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE


COUNT = "/v1/messages/count_tokens"
ASK = {"messages": [{"role": "user", "content": "hello"}]}


async def test_tokens_are_counted_by_an_upstream_that_can(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"input_tokens": 8})
        asked, beta = {"model": "claude/sonnet", **ASK}, {"anthropic-beta": "x-1"}
        response = await stack.client.post(COUNT, json=asked, headers=beta)
        assert response.json() == {"input_tokens": 8}
        seen = stack.upstream.requests[0]
        assert seen.path == COUNT
        assert seen.json == {"model": "claude-sonnet-5", **ASK}
        assert seen.headers["anthropic-beta"] == "x-1"
        assert seen.headers["x-api-key"] == "sk-upstream-secret"


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("claude/none", 404, "not_found_error"),
        (None, 400, "invalid_request_error"),
    ],
)
async def test_what_cannot_be_counted_is_refused_in_anthropics_shape(
    autojump_clock, model, status, kind
):
    async with memory_stack(providers=PROVIDERS) as stack:
        response = await stack.client.post(COUNT, json={"model": model, **ASK})
        assert response.status_code == status
        assert response.json()["type"] == "error"
        assert response.json()["error"]["type"] == kind
        assert stack.upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/embeddings", COUNT])
async def test_another_method_is_refused(autojump_clock, path):
    async with memory_stack(providers=PROVIDERS) as stack:
        response = await stack.client.get(path)
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
