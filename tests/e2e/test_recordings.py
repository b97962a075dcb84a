"""Recorded answers of real providers, replayed through the running router.

What must come out is read off each recording by `tests.e2e.reading`, no code of the router.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.reading import (
    check_error,
    check_status,
    parsed_calls,
    read_completion,
    read_ollama,
    read_stream,
)
from tests.e2e.replay import (
    CUTS,
    QUICK,
    WITH_USAGE,
    body_of,
    recordings,
    replayer,
    whole,
)

pytestmark = pytest.mark.corpus


def check_openai(record, response) -> None:
    told = read_stream(body_of(record))
    if told.failed and not told.texts:
        assert response.status_code == 502  # nothing was promised before the error
        check_error(response.json()["error"])
        return
    check_status(response)
    got = read_stream(response.content)
    assert got.texts == told.texts  # byte for byte
    assert got.said == told.said
    if told.failed:
        assert got.done == 0
        check_error(got.error)
        said = (told.error or {}).get("message")
        if said:
            assert (got.error["message"], got.error["code"]) == (said, "provider_stream_error")
        else:
            assert got.error["code"] == "malformed_json"
        assert response.content.rstrip().endswith(b"}}")  # and nothing after the error
    else:
        assert (got.done, got.error, got.failed) == (1, None, False)
        assert response.content.endswith(b"\n\ndata: [DONE]\n\n")


def check_ollama(record, response) -> None:
    check_status(response)
    told, got = read_ollama(body_of(record)), read_stream(response.content)
    assert (got.done, got.failed) == (1, False)
    compare_ollama(told, got.said)
    first = json.loads(got.texts[0])
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert len({json.loads(text)["id"] for text in got.texts}) == 1


def compare_ollama(told, got) -> None:
    assert got.text == told.text
    assert got.reasoning == told.reasoning
    assert got.finish == told.finish
    assert got.usage == told.usage
    calls = parsed_calls(got)
    assert len({call["id"] for call in calls}) == len(calls)  # each has one of its own
    expected = list(told.calls.values())
    for call, recorded in zip(calls, expected, strict=True):
        assert call == {"id": call["id"], **recorded}


@CUTS
@pytest.mark.parametrize(
    ("dialect", "check"), [("openai", check_openai), ("ollama", check_ollama)], ids=["openai", "ollama"]
)
async def test_every_recorded_stream_reaches_the_client_as_it_was_said(dialect, check, cuts):
    records = recordings("stream", dialect)
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, **WITH_USAGE)
    assert done == len(records) * len(cuts)
    assert done


async def test_usage_that_nobody_asked_for_is_all_that_is_kept_back():
    def check(record, response) -> None:
        told = read_stream(body_of(record))
        if told.failed and not told.texts:
            return
        got = read_stream(response.content)
        values = [(text, json.loads(text)) for text in told.texts]
        kept = [text for text, v in values if v.get("choices") or not v.get("usage")]
        assert got.texts == kept
        hidden.extend(record["id"] for _ in range(len(values) - len(kept)))

    hidden = []
    async with replayer() as router:
        await router.check_all(recordings("stream", "openai"), [whole], check, stream=True)
    assert len(hidden) >= 20  # or the test has looked at nothing


async def test_every_recorded_stream_is_one_answer_for_who_does_not_stream():
    def check(record, response) -> None:
        body = body_of(record)
        told = read_stream(body) if record["dialect"] == "openai" else None
        if told is not None and told.failed:
            assert response.status_code == 502
            check_error(response.json()["error"])
            return
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        completion = response.json()
        assert completion["object"] == "chat.completion"
        got = read_completion(completion)
        if told is None:
            compare_ollama(read_ollama(body), got)
            return
        assert got.text == told.said.text
        assert got.usage == told.said.usage
        assert all(got.finish.get(i) == reason for i, reason in told.said.finish.items())
        calls = [list(map(one.get, ("name", "arguments"))) for one in got.calls.values()]
        ours = sorted(told.said.calls.items(), key=lambda item: item[0][0])
        assert calls == [[one.get("name"), one.get("arguments")] for _, one in ours]

    records = recordings("stream")
    async with replayer() as router:
        assert await router.check_all(records, QUICK, check) == 2 * len(records)


@CUTS
async def test_every_recorded_answer_without_streaming_arrives(cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        body = body_of(record)
        if record["dialect"] == "openai":
            assert response.content.strip() == body.strip()
            return
        completion = response.json()
        assert completion["object"] == "chat.completion"
        compare_ollama(read_ollama(body), read_completion(completion))

    records = recordings("json")
    async with replayer() as router:
        assert await router.check_all(records, cuts, check) == len(records) * len(cuts)


async def test_every_recorded_answer_without_streaming_is_a_stream_for_who_asked_for_one():
    def check(record, response) -> None:
        check_status(response)
        body = body_of(record)
        got = read_stream(response.content)
        assert (got.done, got.failed) == (1, False)
        if record["dialect"] == "ollama":
            compare_ollama(read_ollama(body), got.said)
            return
        completion = json.loads(body)
        told = read_completion(completion)
        for choice in completion["choices"]:  # a stream needs one: clients wait for it
            told.finish.setdefault(choice.get("index", 0), "stop")
        assert got.said.text == told.text
        assert got.said.refusal == told.refusal
        assert got.said.reasoning == told.reasoning
        assert got.said.calls == told.calls
        assert got.said.finish == told.finish
        assert got.said.usage == told.usage

    records = recordings("json")
    async with replayer() as router:
        assert await router.check_all(records, QUICK, check, **WITH_USAGE) == 2 * len(records)


def told_message(body: bytes) -> str | None:
    """The message in any of the shapes that were recorded."""
    if not body.strip():
        return None
    value = json.loads(body)
    value = value[0] if isinstance(value, list) else value
    error = value.get("error")
    return error["message"] if isinstance(error, dict) else error


@CUTS
@pytest.mark.parametrize("stream", [True, False])
async def test_every_recorded_error_keeps_its_status_and_its_message(stream, cuts):
    def check(record, response) -> None:
        status = record["response"]["status"]
        assert response.headers["content-type"] == "application/json"
        error = response.json()["error"]
        check_error(error)
        message = told_message(body_of(record))
        if message is not None:
            assert error["message"] == message
        if status == 401:
            assert (response.status_code, error["code"]) == (502, "provider_auth_error")
            return
        assert response.status_code == status
        value = json.loads(body_of(record) or b"{}").get("error")
        code = value.get("code") if isinstance(value, dict) else None
        if code is not None:
            assert error["code"] == str(code)

    records = recordings("error")
    async with replayer() as router:
        assert await router.check_all(records, cuts, check, stream=stream) == len(records) * len(cuts)
