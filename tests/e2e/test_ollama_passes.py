"""Recorded answers of an Ollama, as clients of Ollama's own API get them: as they are."""

from __future__ import annotations

import json

import pytest

from tests.e2e.gist import told as said_by
from tests.e2e.replay import CUTS, answer, body_of, recordings, replayer, whole

pytestmark = pytest.mark.corpus
CHAT, GENERATE = "/api/chat", "/api/generate"
ENDPOINTS = pytest.mark.parametrize("path", [CHAT, GENERATE])


def said_to(path: str, kind: str):
    """The recordings of one of the two endpoints that have a good end."""
    field = "message" if path == CHAT else "response"
    found = [r for r in recordings(kind, "ollama") if is_good(r) and field in first_of(r)]
    return found or pytest.skip("there is no such recording")


def first_of(record) -> dict:
    return json.JSONDecoder().raw_decode(body_of(record).decode().lstrip())[0]


def is_good(record) -> bool:
    said = said_by("ollama", body_of(record))
    return not said.failed and said.finish is not None


def lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line]


@CUTS
@ENDPOINTS
async def test_every_recorded_stream_passes_line_by_line(path, cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/x-ndjson"
        assert response.content == b"".join(line + b"\n" for line in lines(body_of(record)))

    records = said_to(path, "stream")
    async with replayer() as router:
        assert await router.check_all(records, cuts, check, path) == len(records) * len(cuts)
        assert {request.path for request in router.stack.upstream.requests} == {path}


@CUTS
@ENDPOINTS
async def test_every_recorded_whole_answer_passes_byte_for_byte(path, cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.content == body_of(record)

    records = said_to(path, "json")
    async with replayer() as router:
        done = await router.check_all(records, cuts, check, path, stream=False)
    assert done == len(records) * len(cuts)


@CUTS
@ENDPOINTS
async def test_every_recorded_stream_that_is_cut_off_is_an_error_at_its_end(path, cuts):
    """Each stream up to any of its lines, then the end of the body: no end of an answer is told."""
    async with replayer() as router:
        for seed, record in enumerate(said_to(path, "stream")):
            told = lines(body_of(record))
            for length in {1, len(told) // 2, len(told) - 1} - {len(told), 0}:
                good = [line + b"\n" for line in told[:length]]
                cut = answer(200, "application/x-ndjson", cuts[0](b"".join(good), seed))
                response = await router.ask("ollama", cut, path)
                if response.status_code != 200:  # nothing was said before the cut
                    assert set(response.json()) == {"error"}
                    continue
                *passed, last = lines(response.content)
                assert [line + b"\n" for line in passed] == good
                assert set(json.loads(last)) == {"error"}


@ENDPOINTS
async def test_an_error_of_the_upstream_in_its_stream_is_told_as_one(path):
    async with replayer() as router:
        for record in said_to(path, "stream"):
            first = lines(body_of(record))[:-1]
            body = b"".join(line + b"\n" for line in [*first, b'{"error":"out of memory"}'])
            told = answer(200, "application/x-ndjson", whole(body, 0))
            response = await router.ask("ollama", told, path)
            if response.status_code == 200:
                assert lines(response.content)[-1] == b'{"error":"out of memory"}'
                assert b'"done":true' not in response.content
            else:
                assert response.json() == {"error": "out of memory"}
