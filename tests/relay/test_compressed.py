"""Upstreams that compress although nobody asked them to."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from tests.stack import chat, events, memory_stack, text_of
from trio_router.demo import Answer, Send
from trio_router.wire.inflate import Inflater

WORD = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
TEXT = (
    b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in (WORD, WORD, STOP)) + b"data: [DONE]\n\n"
)
WHOLE = json.dumps(
    {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "aa"}, "finish_reason": "stop"}
        ]
    }
).encode()


def answer(coding: str, body: bytes, kind: str = "application/json", status: int = 200) -> Answer:
    headers = [("content-type", kind), *(("content-encoding", c) for c in coding.split("|"))]
    return Answer(status, headers=headers, steps=[Send(body)])


async def ask(scripted: Answer, settings: str = "", path="/v1/chat/completions", **body):
    async with memory_stack(settings) as stack:
        stack.upstream.script = lambda _: scripted
        given = body or chat("any/m")
        return await stack.client.post(path, json=given)


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("identity|gzip", gzip.compress),
    ],
)
class TestOneCoding:
    async def test_is_undone_in_a_stream(self, autojump_clock, coding, pack):
        scripted = answer(coding, pack(TEXT), "text/event-stream")
        got = await ask(scripted, **chat("any/m", stream=True))
        assert text_of(events(got.content)) == "aa"
        assert events(got.content)[-1] == "[DONE]"

    async def test_is_undone_in_a_whole_answer(self, autojump_clock, coding, pack):
        got = await ask(answer(coding, pack(WHOLE)))
        assert got.content == WHOLE

    async def test_is_undone_in_an_error(self, autojump_clock, coding, pack):
        got = await ask(answer(coding, pack(b'{"error": {"message": "no"}}'), status=429))
        assert (got.status_code, got.json()["error"]["message"]) == (429, "no")


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip|gzip", "br", "zstd", "gzip"])
class TestAnyOther:
    async def test_is_the_upstreams_fault_and_never_garbage(self, autojump_clock, coding):
        body = b"\x8b\x05\x80rubbish" if coding == "gzip" else gzip.compress(gzip.compress(WHOLE))
        for is_stream in (True, False):
            got = await ask(answer(coding, body), **chat("any/m", stream=is_stream))
            assert got.status_code == 502
            assert "cannot be decompressed" in got.json()["error"]["message"]

    async def test_leaves_an_error_its_status(self, autojump_clock, coding):
        got = await ask(answer(coding, b"\x8b\x05\x80rubbish", status=503))
        assert got.status_code == 503


async def test_a_compressed_answer_that_ends_too_early_is_cut_off(autojump_clock):
    packed = gzip.compress(TEXT, mtime=0)[:-25]  # before the finish reason
    assert b"stop" not in zlib.decompressobj(31).decompress(packed)
    got = await ask(answer("gzip", packed, "text/event-stream"), **chat("any/m", stream=True))
    assert "error" in (got.json() if got.status_code != 200 else events(got.content)[-1])
    got = await ask(answer("gzip", gzip.compress(WHOLE)[:-10]))
    assert got.status_code == 503


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_bomb_is_inflated_no_further_than_the_limits_go(autojump_clock, monkeypatch, is_stream):
    made = []
    step = Inflater.step

    def counted(self):
        out = step(self)
        made.append(len(out or b""))
        return out

    monkeypatch.setattr(Inflater, "step", counted)
    bomb = gzip.compress(b'{"a": "' + b"a" * 50_000_000)
    scripted = answer("gzip", bomb, "text/event-stream" if is_stream else "application/json")
    got = await ask(scripted, "stream: {max_event: 1000000}", **chat("any/m", stream=is_stream))
    assert got.status_code == 502
    assert got.json()["error"]["code"] == "event_too_large"
    assert max(made) <= 65536
    assert sum(made) <= 1_000_000 + 65536


async def test_what_only_passes_through_stays_compressed(autojump_clock, monkeypatch):
    monkeypatch.setattr(Inflater, "step", None)
    packed = gzip.compress(b'{"results": []}')
    got = await ask(answer("gzip", packed), path="/v1/moderations", model="any/m", input="a")
    assert got.headers["content-encoding"] == "gzip"
    assert got.json() == {"results": []}
    assert int(got.headers.get("content-length", len(packed))) == len(packed)
