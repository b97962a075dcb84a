"""Recorded answers of Gemini, to clients of its own API: they pass byte for byte, in either framing."""

from __future__ import annotations

import json

import pytest

from tests.e2e.gist import told
from tests.e2e.reading import split_sse
from tests.e2e.replay import CUTS, GEMINI, GEMINI_ARRAY, body_of, recordings, replayer

pytestmark = pytest.mark.corpus
FRAMINGS = pytest.mark.parametrize("path", [GEMINI, GEMINI_ARRAY], ids=["events", "array"])
_SPACE = " \t\r\n,"


def records(body: bytes) -> list[bytes]:
    """The text of each record, as it stands in a stream of events or in an array."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not text.startswith(b"["):
        return [data for _, data in split_sse(body)]
    inside = text[1:-1].decode()
    found, at = [], 0
    while rest := inside[at:].lstrip(_SPACE):
        at = len(inside) - len(rest)
        _, end = json.JSONDecoder().raw_decode(inside, at)
        found.append(inside[at:end].encode())
        at = end
    return found


def in_one_line(text: bytes) -> bytes:
    return text.replace(b"\r", b"").replace(b"\n", b" ")


def is_good(record) -> bool:
    said = told("gemini", body_of(record))
    return not (said.failed or said.is_cut)


@CUTS
@FRAMINGS
async def test_every_recorded_stream_passes_byte_for_byte(path, cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        ours, theirs = records(response.content), records(body_of(record))
        is_event = path == GEMINI
        assert ours == [in_one_line(one) if is_event else one for one in theirs]
        expected = "text/event-stream; charset=utf-8" if is_event else "application/json"
        assert response.headers["content-type"] == expected
        if not is_event:
            assert response.json() == [json.loads(one) for one in theirs]

    chosen = [record for record in recordings("stream", "gemini") if is_good(record)]
    async with replayer() as router:
        done = await router.check_all(chosen, cuts, check, path, stream=True)
    assert done == len(chosen) * len(cuts) > 20


@CUTS
async def test_every_recorded_whole_answer_passes_byte_for_byte(cuts):
    def check(record, response) -> None:
        assert response.status_code == 200
        assert response.content == body_of(record)

    chosen = [r for r in recordings("json", "gemini") if body_of(r).lstrip().startswith(b"{")]
    async with replayer() as router:
        done = await router.check_all(chosen, cuts, check, GEMINI)
    assert done == len(chosen) * len(cuts) > 2
