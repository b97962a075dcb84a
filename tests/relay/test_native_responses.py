"""`/v1/responses` where the upstream has it itself: what passes, and what the record says of it."""

from __future__ import annotations

import pytest

from tests.booked import Booked
from tests.dialects.responses.naive import check, frames, said
from tests.relay.native_events import COMPLETED, CREATED, RESPONSE, SSE, USAGE, body, event, told
from tests.stack import memory_stack
from trio_router.config.schema import ProviderConfig
from trio_router.demo import Abort, Answer, Hang, Send, json_answer
from trio_router.observe.record import Outcome
from trio_router.routing.table import native_apis

ERROR = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "no more"}


BEGUN = CREATED + event("response.output_text.delta", 2, item_id="msg", delta="a")
FAILED = event("error", 3, error=ERROR) + told("failed", 4, "failed", error=ERROR)


async def ask(answer: Answer, **fields):
    """The response, the request's record, and what the upstream was asked."""
    async with memory_stack() as stack:
        provider = ProviderConfig(base_url="http://upstream/v1", responses=True)
        config = stack.router.generation.config
        providers = {**config.providers, "native": provider}
        await stack.router.use(config.model_copy(update={"providers": providers}))
        stack.upstream.script = lambda _: answer
        booked = Booked(stack.router)
        body = {"model": "native/m", "input": "?", "stream": True, **fields}
        response = await stack.client.post("/v1/responses", json=body)
        record = await booked.next()
        (request,) = stack.upstream.requests
    return response, record, request


async def test_what_only_the_api_has_is_asked_as_it_is(autojump_clock):
    fields = {
        "tools": [{"type": "web_search"}],
        "previous_response_id": "resp_8",
        "store": True,
        "background": True,
        "new": {"a": 1},
    }
    _, _, request = await ask(body(CREATED + COMPLETED), **fields)
    assert request.path == "/v1/responses"
    assert request.json == {"model": "m", "input": "?", "stream": True, **fields}


@pytest.mark.parametrize("size", [None, 1, 100])
async def test_a_stream_passes_and_its_usage_is_noted(size, autojump_clock):
    response, record, _ = await ask(body(CREATED + COMPLETED, size))
    assert response.content == CREATED + COMPLETED
    assert record.outcome == Outcome.COMPLETED
    assert (record.prompt_tokens, record.completion_tokens) == (3, 4)


@pytest.mark.parametrize("size", [None, 1, 100])
async def test_an_error_in_the_stream_passes_with_what_follows_it(size, autojump_clock):
    response, record, _ = await ask(body(BEGUN + FAILED, size))
    assert response.content == BEGUN + FAILED
    assert (record.outcome, record.error_code) == (Outcome.UPSTREAM_ERROR, "provider_stream_error")


@pytest.mark.parametrize("size", [None, 1, 100])
@pytest.mark.parametrize(
    "alone",
    [
        event("error", 3, code="x", message="no more", param=None),
        event("error", 3, error=ERROR),
        b"event: error\ndata: no more\n\n",
    ],
)
async def test_an_error_that_nothing_follows_passes_too(alone, size, autojump_clock):
    response, record, _ = await ask(body(BEGUN + alone, size))
    assert response.content == BEGUN + alone
    assert record.outcome == Outcome.UPSTREAM_ERROR


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("data", [FAILED, told("failed", 0, "failed", error=ERROR), CREATED + FAILED])
async def test_an_error_before_anything_else_is_an_http_error(data, size, autojump_clock):
    response, record, _ = await ask(body(data, size))
    assert response.status_code == 502
    assert response.json()["error"]["message"] == "no more"
    assert record.outcome == Outcome.UPSTREAM_ERROR


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ([], "upstream_truncated"),
        ([Abort()], "upstream_truncated"),
        ([Send(b"data: {oops\n\n")], "malformed_json"),
    ],
)
async def test_a_stream_that_breaks_fails_with_the_numbers_going_on(rest, code, autojump_clock):
    response, record, _ = await ask(Answer(headers=SSE, steps=[Send(BEGUN), *rest]))
    assert response.content.startswith(BEGUN)
    assert check_numbers(frames(response.content)) == 5
    error, last = frames(response.content)[-2:]
    assert (error["type"], error["code"]) == ("error", code)
    assert (last["response"]["id"], last["response"]["status"]) == ("resp_9", "failed")
    assert last["response"]["new"] == {"a": 1}
    assert record.error_code == code


async def test_an_early_promise_is_kept_in_the_apis_own_events(autojump_clock):
    """The 200 is out before the upstream said anything; then it says nothing."""
    async with memory_stack("timeouts: {early_commit: 1, first_event: 5}") as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Hang()])
        body = {"model": "any/m", "input": "?", "stream": True, "user": "u"}
        response = await stack.client.post("/v1/responses", json=body)
    assert response.status_code == 200
    assert response.content.startswith(b": keep-alive\n\n")
    checked = check(frames(response.content.removeprefix(b": keep-alive\n\n")))
    assert checked.error["code"] == "provider_timeout"
    assert checked.response["user"] == "u"


async def test_an_answer_after_an_early_promise_tells_the_request_again(autojump_clock):
    async with memory_stack("timeouts: {early_commit: 1}") as stack:
        body = {"model": "any/echo-f3000", "input": "hi", "stream": True, "user": "u"}
        response = await stack.client.post("/v1/responses", json=body)
    checked = check(frames(response.content.removeprefix(b": keep-alive\n\n")))
    assert checked.response["user"] == "u"
    assert said(checked.response)["text"] == "hi"


def check_numbers(events) -> int:
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    return len(events)


WHOLE = {
    **RESPONSE,
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": [
        {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "status": "incomplete",
            "content": [{"type": "output_text", "text": "so", "annotations": []}],
        },
        {"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ],
    "usage": USAGE,
}


async def test_a_whole_answer_passes_and_its_usage_is_noted(autojump_clock):
    response, record, _ = await ask(json_answer(WHOLE), stream=False)
    assert response.json() == WHOLE
    assert (record.prompt_tokens, record.completion_tokens) == (3, 4)


async def test_a_whole_answer_is_a_stream_for_who_asked_for_one(autojump_clock):
    response, record, _ = await ask(json_answer(WHOLE))
    made = check(frames(response.content)).response
    assert [item["type"] for item in made["output"]] == ["reasoning", "message", "function_call"]
    assert made["output"][1]["content"][0]["text"] == "so"
    assert made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert record.outcome == Outcome.COMPLETED


async def test_a_stream_is_one_answer_for_who_asked_for_none(autojump_clock):
    response, record, _ = await ask(body(CREATED + COMPLETED), stream=False)
    assert response.json()["status"] == "completed"
    assert record.completion_tokens == 4


@pytest.mark.parametrize("stream", [True, False])
async def test_a_chat_that_comes_instead_is_told_as_a_response(stream, autojump_clock):
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = json_answer({"object": "chat.completion", "choices": [choice]})
    response, _, _ = await ask(answer, stream=stream)
    made = check(frames(response.content)).response if stream else response.json()
    assert made["output"][0]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    ("provider", "paths"),
    [
        (
            {"dialect": "ollama", "base_url": "http://h"},
            {"ollama.chat": "/api/chat", "ollama.generate": "/api/generate"},
        ),
        ({"dialect": "anthropic"}, {"messages": "/messages"}),
        ({}, {"completions": "/completions"}),
        ({"responses": True}, {"completions": "/completions", "responses": "/responses"}),
        (
            {"base_url": "https://api.openai.com/v1"},
            {"completions": "/completions", "responses": "/responses"},
        ),
        (
            {"base_url": "https://api.openai.com/v1", "responses": False},
            {"completions": "/completions"},
        ),
        (
            {"dialect": "azure", "base_url": "https://x.openai.azure.com"},
            {
                "completions": "/openai/deployments/a%20b/completions",
                "responses": "/openai/v1/responses",
            },
        ),
        (
            {
                "dialect": "azure",
                "base_url": "https://x.openai.azure.com",
                "query": {"api-version": "2025-04-01-preview"},
            },
            {
                "completions": "/openai/deployments/a%20b/completions",
                "responses": "/openai/responses",
            },
        ),
    ],
)
def test_each_provider_has_its_own_paths(provider, paths):
    assert native_apis(ProviderConfig(**{"base_url": "http://h/v1"} | provider), "a b") == paths
