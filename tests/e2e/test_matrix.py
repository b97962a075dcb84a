"""Every recorded answer, told to clients of each API: what it says must be what was said.

Rows are the upstreams' dialects, columns the clients' endpoints, and both ways of asking meet both
kinds of recordings.  What goes byte for byte is looked at in `test_recordings`; here it is the meaning.
"""

from __future__ import annotations

import json
from functools import cache

import pytest

from tests.e2e.gist import Gist, got, told
from tests.e2e.replay import (
    CHAT,
    GEMINI,
    GEMINI_ARRAY,
    Record,
    body_of,
    random_cuts,
    recordings,
    replayer,
    tiny,
    whole,
)

pytestmark = [pytest.mark.corpus, pytest.mark.slow]
WAYS = pytest.mark.parametrize(
    ("stream", "cuts"),
    [
        pytest.param(True, [whole, random_cuts], id="streaming"),
        pytest.param(False, [whole, random_cuts], id="whole"),
        pytest.param(True, [tiny], id="streaming-tiny"),
    ],
)
ALL = ("openai", "anthropic", "ollama", "gemini", "cohere")
DIALECTS = pytest.mark.parametrize("dialect", ALL)
OLLAMA = ("/api/chat", "/api/generate")
GOOGLES = (GEMINI, GEMINI_ARRAY)
PATHS = [CHAT, "/v1/messages", "/v1/responses", "/v1/completions", *GOOGLES, *OLLAMA]
ENDPOINTS = pytest.mark.parametrize("path", PATHS)


@cache
def gist_of(key: str) -> Gist:
    record = next(r for kind in ("stream", "json") for r in recordings(kind, *ALL) if r["id"] == key)
    return told(record["dialect"], body_of(record))


def asked(dialect: str, path: str, *, stream: bool) -> dict:
    """A chat's recording is no answer to /completions: the provider says that it has none."""
    said: dict = {"path": path, "stream": stream}
    if dialect == "openai" and path == "/v1/completions":
        said["provider"] = "only-chat"
    if stream and path in (CHAT, "/v1/completions"):
        said["stream_options"] = {"include_usage": True}
    return said


def compare(record: Record, path: str, given: Gist) -> None:
    said = gist_of(record["id"])
    is_refusal = record["dialect"] == "anthropic" and said.finish == "content_filter"
    if is_refusal and path != "/v1/messages":
        assert given.text.startswith(said.text)  # why it was refused follows, as a refusal
    else:
        assert given.text == said.text
    if path != "/v1/completions":
        assert given.reasoning == said.reasoning
        assert [name for name, _ in given.calls] == [name for name, _ in said.calls]
        for (_, ours), (_, theirs) in zip(given.calls, said.calls, strict=True):
            assert ours == expected_arguments(path, theirs)
    if said.finish is not None:
        assert given.finish == expected_finish(path, said, given)
    is_untold = given.output_tokens is None and not said.output_tokens and path in OLLAMA
    if said.output_tokens is not None and not is_untold:
        beside = said.thought_tokens if path in GOOGLES else 0  # whose sum has all of them
        assert given.output_tokens == said.output_tokens + beside


def expected_arguments(path: str, said):
    """Clients of Messages, Gemini and Ollama take an object; what is none reaches them in one."""
    if path in ("/v1/messages", *GOOGLES, *OLLAMA) and not isinstance(said, dict):
        return {"INVALID_JSON": said}
    return said


def expected_finish(path: str, said: Gist, given: Gist) -> str:
    """Messages and Responses have no word of their own for a `stop` after tool calls, or for "eos"."""
    if path == CHAT:
        return said.finish
    if path == "/v1/completions":  # which has no tools
        return "stop" if said.finish in ("tool_calls", "function_call") else said.finish
    if said.calls and said.finish in ("stop", "function_call"):
        return "tool_calls"
    return said.finish if said.finish in ("length", "content_filter", "tool_calls") else "stop"


@WAYS
@ENDPOINTS
@DIALECTS
async def test_every_recorded_stream_means_the_same_to_every_client(dialect, path, stream, cuts):
    def check(record, response) -> None:
        said = gist_of(record["id"])
        began = said.text + said.reasoning
        if (said.failed or said.is_cut) and (not stream or not began):
            assert response.status_code >= 400
            error = response.json()["error"]
            assert error if path in OLLAMA else error["message"]
            return
        assert response.status_code == 200
        given = got(path, response.content)
        assert given.failed == said.failed
        assert not given.is_cut
        if said.failed:
            assert given.text == said.text
        else:
            compare(record, path, given)

    records = recordings("stream", dialect)
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, **asked(dialect, path, stream=stream))
    assert done == len(records) * len(cuts) > 0


@WAYS
@ENDPOINTS
@DIALECTS
async def test_every_recorded_whole_answer_means_the_same_to_every_client(dialect, path, stream, cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        compare(record, path, got(path, response.content))

    records = recordings("json", dialect)
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, **asked(dialect, path, stream=stream))
    assert done == len(records) * len(cuts) > 0


@WAYS
@ENDPOINTS
@DIALECTS
async def test_every_recorded_error_is_told_in_the_clients_own_shape(dialect, path, stream, cuts):
    def check(record, response) -> None:
        status = record["response"]["status"]
        assert response.headers["content-type"] == "application/json"
        value = response.json()
        error = value["error"]
        if path in OLLAMA:
            assert set(value) == {"error"}
            value["error"] = error = {"message": error}
        elif path == "/v1/messages":
            assert set(value) == {"type", "error"}
            assert set(error) == {"type", "message"}
        elif path in GOOGLES:
            assert set(value) == {"error"}
            assert set(error) - {"details"} == {"code", "message", "status"}
            assert error["code"] == response.status_code
        else:
            assert set(error) == {"message", "type", "code", "param"}
        if status in (401, 403) or said_of_the_key(record):
            assert response.status_code == 502
        else:
            assert response.status_code == status
            assert error["message"]

    records = recordings("error", dialect) or pytest.skip(f"there is no recorded error of {dialect}")
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, **asked(dialect, path, stream=stream))
    assert done == len(records) * len(cuts) > 0


def said_of_the_key(record: Record) -> bool:
    """Google says so with a 400."""
    return record["dialect"] == "gemini" and "API_KEY_INVALID" in json.dumps(body_of(record).decode())
