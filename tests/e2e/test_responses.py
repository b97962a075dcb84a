"""Recorded answers of real providers, as clients of `/v1/responses` and `/v1/completions` get them.

What must come out is read off each recording by code that shares nothing with the router's.
"""

from __future__ import annotations

import json

import pytest

from tests.dialects.anthropic import naive as messages
from tests.dialects.responses.naive import check, frames, said
from tests.e2e.reading import read_completion, read_ollama, read_stream, split_sse
from tests.e2e.replay import body_of, random_cuts, recordings, replayer, tiny, whole

pytestmark = [pytest.mark.corpus, pytest.mark.slow]
QUICK = [whole, random_cuts]
CUTS = pytest.mark.parametrize(
    "cuts", [pytest.param(QUICK, id="quick"), pytest.param([tiny], id="tiny", marks=pytest.mark.slow)]
)
RESPONSES, COMPLETIONS = "/v1/responses", "/v1/completions"
STATUS = {"length": "incomplete", "content_filter": "incomplete"}


def is_chat(body: bytes) -> bool:
    """One recording is of a provider that answered a Responses request with a chat's chunks."""
    return b'"chat.completion' in body[:500]


def arguments(text: str):
    """A call's arguments as their value: none at all is an empty object."""
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text


# -- passed through


def check_native_stream(record, response) -> None:
    if b"event: error" in body_of(record) and b".delta" not in body_of(record):
        assert response.status_code == 502  # nothing was said before the error
        assert "quota" in response.json()["error"]["message"]
        return
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    body = body_of(record)
    if is_chat(body):
        compare(read_stream(body), check(frames(response.content)))
        return
    told, got = split_sse(body), split_sse(response.content)
    assert got == told  # names and JSON texts, byte for byte; the errors' too
    assert b"[DONE]" not in response.content


@CUTS
async def test_every_recorded_responses_stream_passes_byte_for_byte(cuts):
    records = recordings("stream", "openai-responses")
    async with replayer() as router:
        done = await router.check_all(records, cuts, check_native_stream, RESPONSES, stream=True)
        assert len(router.stack.upstream.requests) == done
        assert {r.path for r in router.stack.upstream.requests} == {"/v1/responses"}
    assert done == len(records) * len(cuts)
    assert done


@CUTS
@pytest.mark.parametrize(
    ("dialect", "path"), [("openai-responses", RESPONSES), ("openai-completions", COMPLETIONS)]
)
async def test_every_recorded_answer_passes_byte_for_byte(dialect, path, cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.content == body_of(record)

    records = recordings("json", dialect)
    async with replayer() as router:
        assert await router.check_all(records, cuts, check, path) == len(records) * len(cuts)


@CUTS
async def test_every_recorded_text_completion_passes_byte_for_byte(cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        assert split_sse(response.content) == split_sse(body_of(record))

    records = recordings("stream", "openai-completions")
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, COMPLETIONS, stream=True)
    assert done == len(records) * len(cuts)


@CUTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("dialect", "path"), [("openai-responses", RESPONSES), ("openai-completions", COMPLETIONS)]
)
async def test_every_recorded_error_keeps_its_status_and_its_message(dialect, path, stream, cuts):
    def check(record, response) -> None:
        status = record["response"]["status"]
        error = response.json()["error"]
        assert set(error) == {"message", "type", "code", "param"}
        if status in (401, 403):
            assert (response.status_code, error["code"]) == (502, "provider_auth_error")
            return
        assert response.status_code == status
        value = json.loads(body_of(record))["error"]
        if isinstance(value, str):
            assert error["message"] == value
            return
        assert error["message"] == value["message"]
        assert error["param"] == value.get("param")
        assert error["code"] == (value["code"] and str(value["code"]))

    records = recordings("error", dialect)
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, path, stream=stream)
    assert done == len(records) * len(cuts)


# -- translated


def usage_of(usage) -> tuple[int, int, int, int] | None:
    if not usage:
        return None
    prompt = usage.get("prompt_tokens_details") or {}
    answer = usage.get("completion_tokens_details") or {}
    cached = prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    reasoned = answer.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0
    counts = [usage.get(f"{name}_tokens") or 0 for name in ("prompt", "completion")]
    return (*counts, cached, reasoned)


def check_usage(usage, got) -> None:
    if usage is None:
        assert got is None
        return
    assert usage == (
        got["input_tokens"],
        got["output_tokens"],
        got["input_tokens_details"]["cached_tokens"],
        got["output_tokens_details"]["reasoning_tokens"],
    )
    assert got["total_tokens"] >= sum(usage[:2])


def compare(told, checked) -> None:
    """A stream of chunks as it was read naively, and what the Responses client made of its own."""
    if told.failed:
        assert checked.error is not None
        assert checked.response["status"] == "failed"
        return
    assert checked.error is None
    compare_said(told.said, checked.response)


def compare_said(told, response) -> None:
    got = said(response)
    assert got["text"] == told.text.get(0, "")
    assert got["reasoning"] == told.reasoning.get(0, "")
    assert got["refusal"] == told.refusal.get(0, "")
    calls = [call for (choice, _), call in told.calls.items() if choice == 0]
    expected = [(c.get("name", ""), arguments(c.get("arguments") or "")) for c in calls]
    assert [(name, arguments(text)) for _, name, text in got["calls"]] == expected
    ids = [call_id for call_id, _, _ in got["calls"]]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert [c["id"] for c in calls if c.get("id")] in ([], ids)
    untold = "completed" if expected else "incomplete"  # a call that is whole tells why it ended
    finish = told.finish.get(0)
    assert response["status"] == (STATUS.get(finish, "completed") if finish else untold)
    check_usage(usage_of(told.usage), response["usage"])


def first_messages(body: bytes) -> list[dict]:
    """The deltas and messages of the first choice, of a stream or of an answer, up to a fault."""
    found = []
    for data in [data for _, data in split_sse(body)] or [body]:
        try:
            value = json.loads(data)
        except ValueError:
            continue
        choices = [c for c in value.get("choices") or () if c.get("index", 0) == 0]
        found += [choice.get("delta") or choice.get("message") or {} for choice in choices]
    return found


def other_reasoning(body: bytes) -> str:
    """What is said in `reasoning_details` alone, or in parts of the content's parts (Mistral)."""
    text = ""
    for message in first_messages(body):
        for detail in message.get("reasoning_details") or ():
            text += detail.get("text") or detail.get("summary") or ""
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            text += "".join(inner.get("text", "") for inner in part.get("thinking") or ())
    return text


def complete(told, body: bytes) -> None:
    """Adds what `reading` leaves out: reasoning that is said elsewhere, calls of the old kind."""
    if not told.reasoning.get(0) and (text := other_reasoning(body)):
        told.reasoning = {0: text}
    for message in first_messages(body):
        call = message.get("function_call") or {}
        if call.get("name") or call.get("arguments"):
            held = told.calls.setdefault((0, "legacy"), {"name": "", "arguments": ""})
            held["name"] += call.get("name") or ""
            held["arguments"] += call.get("arguments") or ""


def check_openai(record, response) -> None:
    body = body_of(record)
    told = read_stream(body)
    if told.failed and not told.texts:
        assert response.status_code == 502
        return
    assert response.status_code == 200
    complete(told.said, body)
    compare(told, check(frames(response.content)))


def check_ollama(record, response) -> None:
    assert response.status_code == 200
    told = read_ollama(body_of(record))
    checked = check(frames(response.content))
    for call in told.calls.values():
        call["arguments"] = json.dumps(call["arguments"])
    compare_said(told, checked.response)


def check_anthropic(record, response) -> None:
    assert response.status_code == 200
    message = messages.message(messages.events(body_of(record)))
    checked = check(frames(response.content))
    compare_message(message, checked.response)


def compare_message(message, response) -> None:
    got = said(response)
    refusal = (message.get("stop_details") or {}).get("explanation") or ""
    assert got["text"] == messages.text(message)
    assert got["reasoning"] == messages.thinking(message)
    assert got["refusal"] == refusal
    assert [(i, n, arguments(a)) for i, n, a in got["calls"]] == messages.calls(message)
    is_cut = message["stop_reason"] in ("max_tokens", "refusal", "model_context_window_exceeded")
    assert response["status"] == ("incomplete" if is_cut else "completed")
    assert response["usage"]["output_tokens"] == message["usage"]["output_tokens"]


@CUTS
@pytest.mark.parametrize(
    ("dialect", "check"),
    [("openai", check_openai), ("ollama", check_ollama), ("anthropic", check_anthropic)],
    ids=["openai", "ollama", "anthropic"],
)
async def test_every_recorded_stream_reaches_a_responses_client(dialect, check, cuts):
    records = recordings("stream", dialect)
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, RESPONSES, stream=True)
    assert done == len(records) * len(cuts)
    assert done


async def test_every_recorded_chat_answer_reaches_a_responses_client():
    def check(record, response) -> None:
        assert response.status_code == 200
        body = json.loads(body_of(record))
        got = response.json()
        if record["dialect"] == "anthropic":
            compare_message(body, got)
            return
        if record["dialect"] == "ollama":
            told = read_ollama(body_of(record))
            for call in told.calls.values():
                call["arguments"] = json.dumps(call["arguments"])
        else:
            told = read_completion(body)
            calls = body["choices"][0]["message"].get("tool_calls") or ()
            told.calls = {(0, i): {"id": c["id"], **c["function"]} for i, c in enumerate(calls)}
            complete(told, body_of(record))
            content = body["choices"][0]["message"].get("content")
            if isinstance(content, dict):  # the answer's own JSON
                assert json.loads(said(got)["text"]) == content
                told.text = {0: said(got)["text"]}
        compare_said(told, got)

    records = recordings("json", "openai", "ollama", "anthropic")
    async with replayer() as router:
        assert await router.check_all(records, QUICK, check, RESPONSES) == 2 * len(records)
