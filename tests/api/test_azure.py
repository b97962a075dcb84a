"""Azure's paths and its key, as clients of Azure's OpenAI service ask."""

from __future__ import annotations

import pytest

from tests.chunks import SSE, STOP, delta
from tests.stack import chat, events, memory_stack, text_of
from trio_router.demo import Answer, json_answer, sse

PROVIDERS = """
providers:
  deepseek:
    base_url: http://upstream/v1
    models: {chat: {upstream_model: echo}, embed: {}, whisper: {upstream_model: whisper-1}}
  any: {base_url: "http://upstream/v1", responses: true}
  claude: {dialect: anthropic, base_url: "http://upstream/v1", api_key: sk-ant, models: {sonnet: {}}}
routes:
  fast: {targets: [{model: deepseek/chat}]}
"""
VERSION = "?api-version=2024-10-21"
MESSAGE = {"role": "assistant", "content": "hi"}
WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
}
KEYS = "auth: {keys: [secret]}"


async def post(stack, path: str, body: dict, **headers: str):
    return await stack.client.post(f"/openai/{path}{VERSION}", json=body, headers=headers)


def models_asked(stack) -> list[str]:
    return [request.json["model"] for request in stack.upstream.requests]


@pytest.mark.parametrize(
    ("deployment", "model"),
    [
        ("fast", "echo"),
        ("deepseek/chat", "echo"),
        ("deepseek%2Fchat", "echo"),
        ("any/org/m", "org/m"),
        ("any%2Forg%2Fm", "org/m"),
        ("any/gpt-4o:free", "gpt-4o:free"),
        ("any/a%20b", "a b"),
        ("any/completions", "completions"),
        ("any/chat/completions", "chat/completions"),
    ],
)
@pytest.mark.parametrize("given", [{"model": "other"}, {}])
async def test_the_path_names_the_model_whatever_the_body_says(
    deployment, model, given, autojump_clock
):
    body = chat("x", "hi")
    del body["model"]
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(WHOLE)
        response = await post(stack, f"deployments/{deployment}/chat/completions", body | given)
        assert response.json() == WHOLE
        assert models_asked(stack) == [model]
        assert stack.upstream.requests[0].path == "/v1/chat/completions"


async def test_a_chat_is_streamed(autojump_clock):
    body = chat("fast", "hi", stream=True)
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, "deployments/fast/chat/completions", body)
    items = events(response.content)
    assert text_of(items) == "hi"
    assert items[-1] == "[DONE]"


@pytest.mark.parametrize("deployment", ["any/m", "any%2Fm", "any/chat", "any%2Fchat"])
async def test_text_completions_are_asked_of_the_deployment(deployment, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        choice = {"text": "a", "index": 0, "finish_reason": "stop"}
        answer = {"object": "text_completion", "choices": [choice]}
        stack.upstream.script = lambda _: json_answer(answer)
        response = await post(stack, f"deployments/{deployment}/completions", {"prompt": "?"})
        assert response.status_code == 200
        [request] = stack.upstream.requests
    assert request.path == "/v1/completions"
    assert request.json == {"model": deployment.replace("%2F", "/").partition("/")[2], "prompt": "?"}


async def test_embeddings_are_asked_of_the_deployment(autojump_clock):
    vectors = {"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "model": "e"}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(vectors)
        response = await post(stack, "deployments/deepseek/embed/embeddings", {"input": "a"})
        assert response.json() == vectors
        assert stack.upstream.requests[0].json == {"model": "embed", "input": "a"}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [("audio/speech", {"input": "a", "voice": "b"}), ("images/generations", {"prompt": "a"})],
)
async def test_what_passes_through_goes_without_the_version_of_azures_api(
    endpoint, body, autojump_clock
):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"ok": True})
        response = await post(stack, f"deployments/any/m/{endpoint}", body)
        assert response.json() == {"ok": True}
        [request] = stack.upstream.requests
    assert (request.path, request.query) == (f"/v1/{endpoint}", "")
    assert request.json == {"model": "m", **body}


@pytest.mark.parametrize("fields", [{"model": "x"}, {}])
@pytest.mark.parametrize("endpoint", ["audio/transcriptions", "audio/translations", "images/edits"])
async def test_a_form_is_sent_to_the_deployment(endpoint, fields, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"text": "ok"})
        response = await stack.client.post(
            f"/openai/deployments/deepseek/whisper/{endpoint}{VERSION}",
            data=fields,
            files={"file": ("a.wav", b"RIFF", "audio/wav")},
        )
        assert response.json() == {"text": "ok"}
        [request] = stack.upstream.requests
    assert (request.path, request.query) == (f"/v1/{endpoint}", "")
    assert b"RIFF" in request.body
    if fields:
        assert b"whisper-1" in request.body


@pytest.mark.parametrize("prefix", ["", "v1/"])
async def test_paths_without_a_deployment_are_the_plain_ones(prefix, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, f"{prefix}chat/completions", chat("fast", "hi"))
        assert response.json()["choices"][0]["message"]["content"] == "hi"
        listed = await stack.client.get(f"/openai/{prefix}models{VERSION}")
        assert "fast" in {model["id"] for model in listed.json()["data"]}
        one = await stack.client.get(f"/openai/{prefix}models/deepseek%2Fchat{VERSION}")
        assert one.json()["id"] == "deepseek/chat"
        answer = {"object": "response", "id": "r", "status": "completed", "output": []}
        stack.upstream.script = lambda _: json_answer(answer)
        told = await post(stack, f"{prefix}responses", {"model": "any/m", "input": "?"})
        assert told.json() == answer


async def test_a_translated_target_is_reached_by_the_same_path(autojump_clock):
    message = {"type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    message |= {"content": [{"type": "text", "text": "hi"}], "usage": {"output_tokens": 1}}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(message)
        response = await post(stack, "deployments/claude/sonnet/chat/completions", chat("x"))
    assert response.json()["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"api-key": "secret"}, 200),
        ({"authorization": "Bearer secret"}, 200),
        ({"api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong", "api-key": "secret"}, 401),
        ({}, 401),
    ],
)
async def test_the_key_may_be_in_azures_header(headers, status, autojump_clock):
    async with memory_stack(KEYS, PROVIDERS) as stack:
        response = await post(stack, "deployments/fast/chat/completions", chat("fast"), **headers)
    assert response.status_code == status
    assert "secret" not in response.text
    assert "wrong" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "deployments/nobody/chat/completions", 404, "model_not_found"),
        ("POST", "deployments/fast%2Fchat/completions", 404, "model_not_found"),
        ("POST", "deployments/fast/none", 404, "not_found"),
        ("POST", "deployments/fast", 404, "not_found"),
        ("POST", "deployments//chat/completions", 400, "invalid_request"),
        ("POST", "none", 404, "not_found"),
        ("GET", "deployments/fast/chat/completions", 405, "method_not_allowed"),
        ("POST", "deployments/any/%2e%2e/chat/completions", 400, "invalid_request"),
    ],
)
async def test_errors_are_openais(method, path, status, code, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await stack.client.request(method, f"/openai/{path}{VERSION}", json=chat("x"))
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


async def test_an_error_in_the_stream_is_openais_event(autojump_clock):
    told = sse(delta("a"), {"error": {"message": "gone"}}, done=False)
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=told)
        body = chat("x", stream=True)
        response = await post(stack, "deployments/any/m/chat/completions", body)
    assert events(response.content)[-1]["error"]["message"] == "gone"


async def test_a_responses_clients_errors_are_those_of_its_api(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        plain = await stack.client.post("/v1/responses", json={"model": "claude/sonnet", "input": 1})
        azure = await post(stack, "v1/responses", {"model": "claude/sonnet", "input": 1})
    assert azure.status_code == plain.status_code == 400
    assert azure.json() == plain.json()


async def test_streams_of_a_deployment_end_once(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=sse(delta("a"), STOP))
        body = chat("x", stream=True)
        response = await post(stack, "deployments/any/m/chat/completions", body)
    assert response.content.count(b"[DONE]") == 1
