"""Recorded answers of providers with an API of their own, replayed through the running router.

What must come out is read off each recording by `tests.e2e.natives`, no code of the router.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.e2e.natives import images, read_cohere, read_gemini, records
from tests.e2e.reading import (
    Said,
    check_error,
    check_status,
    parsed_calls,
    read_completion,
    read_stream,
)
from tests.e2e.replay import (
    CUTS,
    QUICK,
    WITH_USAGE,
    answer,
    body_of,
    random_cuts,
    recordings,
    replayer,
    tiny,
    whole,
)

pytestmark = [pytest.mark.corpus, pytest.mark.slow]
READERS = {"gemini": read_gemini, "cohere": read_cohere}
DIALECTS = pytest.mark.parametrize("dialect", list(READERS))


def read(record) -> Said:
    return READERS[record["dialect"]](body_of(record))


def compare(told: Said, got: Said) -> None:
    assert got.text == told.text
    assert got.reasoning == told.reasoning
    assert got.finish == told.finish
    calls = parsed_calls(got)
    assert len({call["id"] for call in calls}) == len(calls)  # each has one of its own
    for call, recorded in zip(calls, told.calls.values(), strict=True):
        assert call == {"id": call["id"], **recorded}
    if told.usage is None:
        assert got.usage is None
    else:
        assert {name: got.usage[name] for name in told.usage} == told.usage
        assert got.usage["total_tokens"] == sum(told.usage.values())


def check_streamed(record, response) -> None:
    told = read(record)
    if not told.finish:  # nothing was said, not even why
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_truncated"
        return
    check_status(response)
    got = read_stream(response.content)
    assert (got.done, got.failed) == (1, False)
    compare(told, got.said)
    chunks = [json.loads(text) for text in got.texts]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({chunk["id"] for chunk in chunks}) == 1
    finishes = Counter(c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"])
    assert set(finishes.values()) == {1}
    assert chunks[-2]["choices"][0]["finish_reason"]  # and then nothing but usage
    assert chunks[-1]["choices"] == []
    check_images(record, [c["delta"] for chunk in chunks for c in chunk["choices"]])


def check_whole(record, response) -> None:
    told = read(record)
    if not told.finish:
        assert response.status_code == 502
        check_error(response.json()["error"])
        return
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    completion = response.json()
    assert completion["object"] == "chat.completion"
    compare(told, read_completion(completion))
    check_images(record, [choice["message"] for choice in completion["choices"]])


def check_images(record, messages) -> None:
    given = [item["image_url"]["url"] for message in messages for item in message.get("images", ())]
    assert given == images(records(body_of(record)))


@CUTS
@DIALECTS
async def test_every_recorded_stream_reaches_the_client_in_openais_shape(dialect, cuts):
    told = recordings("stream", dialect)
    async with replayer() as router:
        assert await router.check_all(told, cuts, check_streamed, **WITH_USAGE) == len(told) * len(cuts)
    assert told


@DIALECTS
async def test_every_recorded_stream_is_one_answer_for_who_does_not_stream(dialect):
    told = recordings("stream", dialect)
    async with replayer() as router:
        assert await router.check_all(told, QUICK, check_whole) == 2 * len(told)


@CUTS
@DIALECTS
async def test_every_recorded_answer_without_streaming_arrives(dialect, cuts):
    told = recordings("json", dialect)
    async with replayer() as router:
        assert await router.check_all(told, cuts, check_whole) == len(told) * len(cuts)


@DIALECTS
async def test_every_recorded_answer_is_a_stream_for_who_asked_for_one(dialect):
    told = recordings("json", dialect)
    async with replayer() as router:
        assert await router.check_all(told, QUICK, check_streamed, **WITH_USAGE) == 2 * len(told)


@CUTS
@DIALECTS
@pytest.mark.parametrize("stream", [True, False])
async def test_every_recorded_error_keeps_its_status_message_and_code(dialect, stream, cuts):
    def check(record, response) -> None:
        status = record["response"]["status"]
        error = response.json()["error"]
        check_error(error)
        body = body_of(record)
        if status in (401, 403) or b"API_KEY_INVALID" in body:
            assert (response.status_code, error["code"]) == (502, "provider_auth_error")
            return
        assert response.status_code == status
        value = json.loads(body)
        value = value[0] if isinstance(value, list) else value
        value = value.get("error", value)
        assert error["message"] == value["message"]
        assert error["code"] == value.get("status", f"upstream_{status}")

    told = recordings("error", dialect)
    async with replayer() as router:
        assert await router.check_all(told, cuts, check, stream=stream) == len(told) * len(cuts)


@DIALECTS
async def test_usage_that_nobody_asked_for_is_kept_back(dialect):
    def check(record, response) -> None:
        assert read_stream(response.content).said.usage is None

    async with replayer() as router:
        await router.check_all(recordings("stream", dialect), [whole], check, stream=True)


@pytest.mark.parametrize("cut", [whole, tiny, random_cuts])
async def test_a_stream_of_geminis_means_the_same_as_an_array(cut):
    """Every recorded stream of events, said as the array that the API gives without alt=sse."""
    async with replayer() as router:
        for seed, record in enumerate(recordings("stream", "gemini")):
            if len(body_of(record)) > 20_000 and cut is tiny:
                continue
            body = b"[" + b",\r\n".join(json.dumps(r).encode() for r in records(body_of(record))) + b"]"
            told = answer(200, "application/json; charset=UTF-8", cut(body, seed))
            check_streamed(record, await router.ask("gemini", told, **WITH_USAGE))
