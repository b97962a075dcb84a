from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, corpus, cuts, every_size
from trio_router.dialects import DIALECTS
from trio_router.dialects.answer import AnswerReader, ReadingRules
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.translate import StreamTranslator, WholeAnswer, status_error
from trio_router.errors import Empty, MalformedJSON, UpstreamError
from trio_router.wire.sse import SSEDecoder

WHO = AnswerIdentity("chatcmpl-1", 1, "m")
RULES = ReadingRules(max_event=1 << 23)
# Where openai-node, whose test the vector is from, is stricter than the contract.
TOLERATED = {
    "oan/lib/streaming-sentinel-integrity.test.ts: rejects trailing tab after the completion marker": (
        "recorded streams end in `[DONE]` and white space"
    ),
}


def translate(pieces, dialect="openai", content_type="text/event-stream"):
    """The client's bytes, and the failure."""
    reader = AnswerReader(DIALECTS[dialect], WHO, content_type, RULES)
    translator = StreamTranslator(reader, with_usage=True)
    out = b"".join(translator.receive_data(piece) for piece in pieces)
    if not reader.is_done and not reader.failure:
        out += translator.receive_eof()
    return out, reader.failure


@pytest.mark.corpus
def test_every_vector_of_what_an_openai_client_makes_of_a_stream_holds():
    for case in corpus("sse_vectors.jsonl"):
        if "openai" not in case or case["name"] in TOLERATED:
            continue
        data = base64.b64decode(case["input_b64"])
        for pieces in every_size(data):
            out, failure = translate(pieces)
            got = [e.data for e in SSEDecoder(1 << 23).receive_data(out)]
            items = [json.loads(d) for d in got if d != b"[DONE]"]
            assert items == case["openai"].get("items"), case["name"]
            if case["openai"] == {"items": []}:  # which OpenAI's client takes for a good answer
                assert isinstance(failure, Empty), case["name"]
                continue
            assert (failure is not None) == bool(case["openai"].get("error")), case["name"]


@given(
    st.lists(
        st.sampled_from(
            [
                b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
                b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
                b"data: [DONE]\n\n",
                b": comment\n\n",
                b"data: {broken\n\n",
                b'data: {"error":{"message":"x"}}\n\n',
                b'event: error\ndata: {"message":"x"}\n\n',
                b"data:\n\n",
                b'{"message":{"content":"b"},"done":false}\n',
                b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n',
                b'data: {"choices":null}\n\n',
                b'data: {"choices":[{"delta":null,"index":null}]}\n\n',
                b'data: {"choices":7,"message":8,"done":9}\n\n',
                b"\r\n",
                b'{"message":7,"done":true}\n',
                b"\xef\xbb\xbf",
            ]
        ),
        max_size=8,
    ),
    cuts(300),
    st.sampled_from(["openai", "ollama"]),
)
def test_any_mixture_gives_the_same_answer_under_any_cut(parts, offsets, dialect):
    data = b"".join(parts)
    whole = translate([data], dialect)
    cut = translate(at_offsets(data, offsets), dialect)
    assert whole[0] == cut[0]
    assert type(whole[1]) is type(cut[1])


@given(st.binary(max_size=200), cuts(200), st.sampled_from(["openai", "ollama"]))
def test_arbitrary_bytes_end_in_a_typed_error_or_well(data, offsets, dialect):
    out, failure = translate(at_offsets(data, offsets), dialect, "")
    assert failure is None or isinstance(failure, UpstreamError)
    assert (failure is None) == out.endswith(b"data: [DONE]\n\n")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "delta",
                        "message",
                        "index",
                        "finish_reason",
                        "usage",
                        "tool_calls",
                        "content",
                        "function",
                        "arguments",
                        "done",
                        "thinking",
                        "logprobs",
                        "object",
                        "id",
                        "name",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["openai", "ollama"]),
)
def test_json_of_any_shape_ends_in_a_typed_error_or_well(value, dialect):
    data = json.dumps(value).encode()
    translate([b"data: " + data + b"\n\n"], dialect)
    translate([data + b"\n"], dialect)
    for body in (data, b"data: " + data + b"\n\ndata: [DONE]\n\n"):
        try:
            WholeAnswer(DIALECTS[dialect], WHO, "", RULES).translate(body)
        except UpstreamError:
            continue


@pytest.mark.parametrize("calls", [[1], 5, "x", [{"index": 0}, 7], [{"function": 3}]])
def test_tool_calls_of_any_shape_are_the_upstreams_fault(calls):
    delta = {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "stop"}
    body = b"data: " + json.dumps({"choices": [delta]}).encode() + b"\n\ndata: [DONE]\n\n"
    with suppress(MalformedJSON):
        WholeAnswer(DIALECTS["openai"], WHO, "", RULES).translate(body)


def test_after_done_nothing_counts():
    said = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    done = b"data: [DONE]\n\n"
    out, failure = translate([said + done, b"data: {broken\n\n", done])
    assert (out, failure) == (said + done, None)


def test_what_only_begins_like_done_is_no_end():
    _, failure = translate([b"data: [DONE]secret\n\n"])
    assert failure.code == "malformed_json"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"message": "m", "code": "own"}}, "own"),
        ({"error": "m", "code": "beside it"}, "beside it"),
        ({"error": "m"}, "upstream_400"),
        ({"message": "m", "code": 7}, "7"),
    ],
)
def test_an_upstreams_own_code_is_kept_wherever_it_stands(body, code):
    error = status_error("p", 400, json.dumps(body).encode(), None)
    assert (error.message, error.code) == ("m", code)
