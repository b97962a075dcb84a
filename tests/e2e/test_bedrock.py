"""Recorded event streams of Bedrock, replayed through the running router to clients of every API.

What must come out is read off each recording here, with no code of the router.
"""

from __future__ import annotations

import base64
import json
import struct

import pytest

from tests.clouds.events import exception, said
from tests.e2e.gist import Gist, got
from tests.e2e.replay import (
    CHAT,
    GEMINI,
    GEMINI_ARRAY,
    answer,
    body_of,
    random_cuts,
    recordings,
    replayer,
    tiny,
    whole,
)

pytestmark = pytest.mark.corpus
KINDS = ("bedrock-converse", "bedrock-eventstream", "bedrock-invoke")
ENDPOINTS = pytest.mark.parametrize(
    "path", [CHAT, "/v1/messages", "/v1/responses", "/v1/completions", GEMINI, GEMINI_ARRAY]
)
FINISH = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "LENGTH": "length",
    "FINISH": "stop",
}


def frames(body: bytes) -> list[tuple[str, dict]]:
    """(event type, value) of each message; an exact reading, which a broken recording would fail."""
    found, place = [], 0
    while place < len(body):
        total, headers = struct.unpack_from(">II", body, place)
        told = body[place + 12 : place + 12 + headers]
        names, at = {}, 0
        while at < len(told):
            size = told[at]
            length = struct.unpack_from(">H", told, at + 2 + size)[0]
            names[told[at + 1 : at + 1 + size].decode()] = told[at + 4 + size : at + 4 + size + length]
            at += 4 + size + length
        payload = json.loads(body[place + 12 + headers : place + total - 4])
        found.append((names[":event-type"].decode(), payload))
        place += total
    return found


def told(body: bytes) -> Gist:
    gist = Gist()
    calls: dict[int, list] = {}
    for kind, value in frames(body):
        if kind == "chunk":
            record = json.loads(base64.b64decode(value["bytes"]))
            gist.text += record.get("completion", record.get("outputText")) or ""
            if stop := record.get("stop_reason", record.get("completionReason")):
                gist.finish = FINISH[stop]
            metrics = record.get("amazon-bedrock-invocationMetrics") or {}
            gist.output_tokens = metrics.get("outputTokenCount")
        elif kind == "contentBlockStart":
            calls[value["contentBlockIndex"]] = [value["start"]["toolUse"]["name"], ""]
        elif kind == "contentBlockDelta":
            delta = value["delta"]
            gist.text += delta.get("text") or ""
            if "toolUse" in delta:
                calls[value["contentBlockIndex"]][1] += delta["toolUse"]["input"]
        elif kind == "messageStop":
            gist.finish = FINISH[value["stopReason"]]
        elif kind == "metadata":
            gist.output_tokens = value["usage"]["outputTokens"]
    gist.calls = [(name, json.loads(given or "{}")) for name, given in calls.values()]
    return gist


def streams() -> list[dict]:
    found = [*recordings("stream", *KINDS), *recordings("json", *KINDS)]
    return [record for record in found if body_of(record)[:1] == b"\0"]


def check_finish(path: str, said: Gist, given: Gist) -> None:
    if path == "/v1/completions":
        assert given.finish == ("stop" if said.finish == "tool_calls" else said.finish)
    else:
        assert given.finish == said.finish


@pytest.mark.parametrize("cut", [whole, random_cuts, pytest.param(tiny, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stream", [True, False])
@ENDPOINTS
async def test_every_recorded_event_stream_means_the_same_to_every_client(path, stream, cut):
    def check(record, response) -> None:
        said = told(body_of(record))
        assert response.status_code == 200
        given = got(path, response.content)
        assert not given.failed
        assert given.text == said.text
        if path != "/v1/completions":
            assert given.calls == said.calls
        check_finish(path, said, given)
        assert given.output_tokens == said.output_tokens

    fields = {"stream_options": {"include_usage": True}} if path in (CHAT, "/v1/completions") else {}
    records = streams()
    async with replayer() as router:
        done = await router.check_all(
            records, [cut], check, path, stream=stream, **(fields if stream else {})
        )
    assert done == len(records) > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_every_recorded_error_keeps_its_status_and_its_message(stream):
    def check(record, response) -> None:
        assert response.status_code == record["response"]["status"]
        assert response.json()["error"]["message"] == json.loads(body_of(record))["message"]

    records = recordings("error", *KINDS)
    async with replayer() as router:
        assert await router.check_all(records, [whole, tiny], check, stream=stream) == 2 * len(records)


async def test_an_exception_before_any_word_is_an_error_with_its_own_status():
    body = exception("throttlingException", "Too many requests, please wait before trying again.")
    async with replayer() as router:
        told = answer(200, "application/vnd.amazon.eventstream", [body])
        response = await router.ask("bedrock-converse", told, stream=True)
    assert response.status_code == 429
    assert "Too many requests" in response.json()["error"]["message"]


async def test_an_exception_among_the_words_ends_the_stream_with_an_error():
    words = b"".join(_messages(said("Hello"))[:2])
    body = words + exception("modelStreamErrorException", "the model broke")
    async with replayer() as router:
        told = answer(200, "application/vnd.amazon.eventstream", [body])
        response = await router.ask("bedrock-converse", told, stream=True)
    assert response.status_code == 200
    given = got(CHAT, response.content)
    assert (given.text, given.failed) == ("Hello", True)
    assert b"the model broke" in response.content
    assert b"[DONE]" not in response.content


@pytest.mark.parametrize("place", [20, 130, 260])
async def test_a_changed_byte_ends_the_stream_with_an_error(place):
    body = bytearray(said("Hello, ", "world"))
    body[place] ^= 1
    async with replayer() as router:
        told = answer(200, "application/vnd.amazon.eventstream", [bytes(body)])
        response = await router.ask("bedrock-converse", told, stream=True)
    assert b"[DONE]" not in response.content
    assert b'"malformed_json"' in response.content


async def test_a_stream_that_breaks_off_is_truncated():
    body = b"".join(_messages(said("Hello", "!"))[:3])
    async with replayer() as router:
        told = answer(200, "application/vnd.amazon.eventstream", [body])
        response = await router.ask("bedrock-converse", told, stream=True)
    assert b"upstream_truncated" in response.content
    assert b"[DONE]" not in response.content


def _messages(body: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(body):
        total = struct.unpack_from(">I", body, place)[0]
        found.append(body[place : place + total])
        place += total
    return found
