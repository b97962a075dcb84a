"""How upstreams with an API of their own are asked, and what becomes of their errors, over sockets."""

from __future__ import annotations

import json

import pytest

from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Answer, Send, json_answer

PROVIDERS = """
providers:
  gemini: {base_url: "http://upstream/v1beta", dialect: gemini, api_key: google-key}
  vertex:
    base_url: "http://upstream/v1/projects/P/locations/eu/publishers/google"
    dialect: gemini
    headers: {authorization: "Bearer a-token"}
    query: {a: "b c"}
  cohere: {base_url: "http://upstream/v2", dialect: cohere, api_key: co-key}
  lax: {base_url: "http://upstream/v2", dialect: cohere, drop_unsupported: true}
"""
CANDIDATE = {"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}
GEMINI = {
    "candidates": [CANDIDATE],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
}
COHERE = {
    "id": "c",
    "message": {"content": [{"type": "text", "text": "Hi"}]},
    "finish_reason": "COMPLETE",
}


async def asked(model, answer, **fields):
    """The client's response, the upstream's request, the record."""
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: answer
        booked = []
        stack.router.engine.consumers = [booked.append]
        response = await stack.client.post("/v1/chat/completions", json=chat(model, **fields))
        seen = stack.upstream.requests[0] if stack.upstream.requests else None
    return response, seen, booked[0]


@pytest.mark.parametrize(
    ("model", "fields", "path", "header"),
    [
        (
            "gemini/gemini-x",
            {},
            "/v1beta/models/gemini-x:generateContent",
            ("x-goog-api-key", "google-key"),
        ),
        (
            "gemini/a/b?c",
            {"stream": True},
            "/v1beta/models/a%2Fb%3Fc:streamGenerateContent?alt=sse",
            ("x-goog-api-key", "google-key"),
        ),
        (
            "vertex/gemini-x",
            {"stream": True},
            "/v1/projects/P/locations/eu/publishers/google/models/gemini-x:streamGenerateContent"
            "?alt=sse&a=b+c",
            ("authorization", "Bearer a-token"),
        ),
    ],
)
async def test_gemini_is_asked_by_its_path_and_key(model, fields, path, header):
    response, seen, _ = await asked(model, json_answer(GEMINI, 200), **fields)
    assert response.status_code == 200
    assert f"{seen.path}?{seen.query}".rstrip("?") == path
    assert seen.headers[header[0]] == header[1]
    assert seen.json == {"contents": [{"role": "user", "parts": [{"text": "Hello, world!"}]}]}


async def test_a_stream_as_an_array_is_a_stream_and_the_record_says_what_it_was():
    begun = {"candidates": [{"content": {"parts": [{"text": "Oh! "}]}}]}
    body = json.dumps([begun, GEMINI], indent=1).encode()
    answer = Answer(200, [("content-type", "application/json")], [Send(body[:50]), Send(body[50:])])
    response, _, record = await asked("gemini/m", answer, stream=True)
    items = events(response.content)
    assert text_of(items) == "Oh! Hello"
    assert items[-1] == "[DONE]"
    assert record.format == "json-array"
    assert (record.prompt_tokens, record.completion_tokens) == (3, 4)


async def test_an_exhausted_quota_says_when_to_come_again():
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    error = {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": [info]}
    response, _, _ = await asked("gemini/m", json_answer({"error": error}, 429))
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    told = {
        "message": "Quota.",
        "type": "rate_limit_error",
        "code": "RESOURCE_EXHAUSTED",
        "param": None,
    }
    assert response.json() == {"error": told}


async def test_a_key_that_gemini_does_not_know_is_no_fault_of_the_client():
    details = [{"reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": "API key not valid: google-key", "details": details}
    response, _, _ = await asked("gemini/m", json_answer({"error": error}, 400))
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "provider_auth_error"
    assert b"google-key" not in response.content


async def test_cohere_is_asked_for_a_chat():
    response, seen, record = await asked("cohere/command", json_answer(COHERE, 200))
    assert response.json()["choices"][0]["message"]["content"] == "Hi"
    assert (seen.path, seen.headers["authorization"]) == ("/v2/chat", "Bearer co-key")
    assert (seen.json["model"], seen.json["stream"]) == ("command", False)
    assert record.format == "json"


async def test_what_a_target_cannot_do_is_refused_before_it_is_asked_or_dropped_where_that_is_allowed():
    for model, name, value in (("cohere/m", "n", 2), ("gemini/m", "logit_bias", {"1": 2})):
        response, seen, _ = await asked(model, None, **{name: value})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == name
        assert seen is None
    response, seen, _ = await asked("lax/m", json_answer(COHERE, 200), n=2)
    assert response.status_code == 200
    assert "n" not in seen.json
