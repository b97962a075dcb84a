from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts
from trio_router.dialects.answer import AnswerReader, ReadingRules
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.cohere import CohereDialect
from trio_router.dialects.fold import Fold
from trio_router.dialects.translate import WholeAnswer
from trio_router.errors import RouterError, StreamError

COHERE = CohereDialect()
WHO = AnswerIdentity("chatcmpl-7", 1700000000, "cohere/m")
RULES = ReadingRules(max_event=1 << 20)
USAGE = {
    "billed_units": {"input_tokens": 7.0, "output_tokens": 2.0},
    "tokens": {"input_tokens": 70.0, "output_tokens": 9.0},
    "cached_tokens": 64,
}
CITATIONS = [{"start": 0, "end": 3, "text": "Sun", "sources": []}, {"start": 4, "end": 5, "text": "x"}]


def event(kind, index=None, **message):
    told = {"type": kind} | ({"index": index} if index is not None else {})
    return told | ({"delta": {"message": message}} if message else {})


def content(kind="content-delta", **block):
    return event(kind, 0, content=block)


def end(reason="COMPLETE", **delta):
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": USAGE, **delta}}


START = {"id": "c0", **event("message-start", role="assistant", content=[])}
TALK = [
    START,
    content("content-start", type="thinking", thinking=""),
    content(thinking="hm"),
    event("content-end", 0),
    content("content-start", type="text", text=""),
    content(text="Sun"),
    content(text="ny."),
    event("citation-start", 0, citations=CITATIONS[0]),
    event("citation-end", 0),
    event("citation-start", 1, citations=CITATIONS[1]),
    event("content-end", 1),
    end(),
]


def function(**fields):
    return {"tool_calls": {"function": fields}}


CALLS = [
    START,
    event("tool-plan-delta", tool_plan="I will "),
    event("tool-plan-delta", tool_plan="look."),
    event("tool-call-start", 0, tool_calls={"id": "t1", "type": "function", "function": {"name": "a"}}),
    event("tool-call-delta", 0, **function(arguments='{"x"')),
    event("tool-call-delta", 0, **function(arguments=": 1}")),
    event("tool-call-end", 0),
    event("tool-call-start", 1, tool_calls={"function": {"name": "b", "arguments": ""}}),
    event("tool-call-delta", 1, **function(arguments="{}")),
    event("tool-call-end", 1),
    end("TOOL_CALL"),
]


def sse(records) -> bytes:
    return b"".join(b"data: " + json.dumps(r).encode() + b"\n\n" for r in records)


def chunks(records):
    decoder = COHERE.decoder(WHO)
    told = [chunk for record in records for chunk in decoder.decode(record)]
    assert decoder.is_done
    return told


def folded(told):
    fold = Fold(WHO)
    for chunk in json.loads(json.dumps(told)):
        fold.add(chunk)
    return fold.completion()


def choice(records):
    return folded(chunks(records))["choices"][0]


class TestStream:
    def test_text_thinking_and_citations_come_in_their_fields(self):
        said = choice(TALK)["message"]
        assert said["reasoning_content"] == "hm"
        assert said["content"] == "Sunny."
        assert said["citations"] == [{"index": i, **c} for i, c in enumerate(CITATIONS)]

    def test_calls_and_the_plan_before_them(self):
        told = choice(CALLS)
        assert told["finish_reason"] == "tool_calls"
        assert told["message"]["content"] is None
        assert told["message"]["reasoning_content"] == "I will look."
        assert told["message"]["tool_calls"] == [
            {"id": "t1", "type": "function", "function": {"name": "a", "arguments": '{"x": 1}'}},
            {"id": "call_7_1", "type": "function", "function": {"name": "b", "arguments": "{}"}},
        ]

    def test_every_chunk_has_openais_frame(self):
        told = chunks(TALK)
        names = {(c["id"], c["object"], c["created"], c["model"]) for c in told}
        assert names == {("c0", "chat.completion.chunk", 1700000000, "cohere/m")}
        roles = [c["choices"][0]["delta"].get("role") for c in told if c["choices"]]
        assert roles == ["assistant", *[None] * (len(roles) - 1)]

    def test_usage_is_what_was_read_and_written(self):
        assert chunks(TALK)[-1]["usage"] == {
            "prompt_tokens": 70,
            "completion_tokens": 9,
            "total_tokens": 79,
            "prompt_tokens_details": {"cached_tokens": 64},
            "billed_units": USAGE["billed_units"],
        }
        last = end() | {"delta": {"usage": {"billed_units": {"input_tokens": 3}}}}
        assert chunks([last])[-1]["usage"]["prompt_tokens"] == 3

    @pytest.mark.parametrize(
        ("native", "reason"),
        [
            ("COMPLETE", "stop"),
            ("STOP_SEQUENCE", "stop"),
            ("MAX_TOKENS", "length"),
            ("ERROR_TOXIC", "content_filter"),
            ("WHATEVER_COMES", "stop"),
        ],
    )
    def test_the_finish_reason(self, native, reason):
        told = choice([START, content(text="x"), end(native)])
        assert told["finish_reason"] == reason
        plain = native in ("COMPLETE", "MAX_TOKENS")
        assert told.get("native_finish_reason") == (None if plain else native)

    def test_an_answer_that_says_nothing_has_empty_content(self):
        assert choice([START, end()])["message"]["content"] == ""

    @pytest.mark.parametrize(
        ("last", "message"),
        [
            (end("ERROR", error="out of memory"), "out of memory"),
            (end("TIMEOUT"), "the model failed to answer"),
            ({"message": "too many tokens"}, "too many tokens"),
        ],
    )
    def test_an_answer_that_failed_ends_in_an_error(self, last, message):
        reader = AnswerReader(COHERE, WHO, "", RULES)
        reader.receive_data(sse([START, content(text="x"), last]))
        assert isinstance(reader.failure, StreamError)
        assert reader.failure.message == message

    def test_a_stream_without_its_end_was_cut_off(self):
        reader = AnswerReader(COHERE, WHO, "", RULES)
        reader.receive_data(sse(TALK[:-1]))
        reader.receive_eof()
        assert reader.failure.code == "upstream_truncated"


def test_numbers_beyond_all_bounds_are_no_fault_of_ours():
    answer = (
        b'{"finish_reason": "COMPLETE", "message": {}, "usage": {"tokens": {"input_tokens": 1e999}}}'
    )
    told = json.loads(WholeAnswer(COHERE, WHO, "", RULES).translate(answer))
    assert told["usage"]["prompt_tokens"] == 0


class TestWhole:
    WHOLE = {"id": "c0", "finish_reason": "COMPLETE", "usage": USAGE}

    def test_an_answer_streamed_and_folded_is_the_answer_not_streamed(self):
        blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Sunny."}]
        message = {"role": "assistant", "content": blocks, "citations": CITATIONS}
        assert COHERE.completion({**self.WHOLE, "message": message}, WHO) == folded(chunks(TALK))

    def test_calls_too(self):
        calls = [
            {"id": "t1", "type": "function", "function": {"name": "a", "arguments": '{"x": 1}'}},
            {"type": "function", "function": {"name": "b", "arguments": "{}"}},
        ]
        message = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": calls}
        answer = {**self.WHOLE, "finish_reason": "TOOL_CALL", "message": message}
        assert COHERE.completion(answer, WHO) == folded(chunks(CALLS))

    def test_an_event_of_a_stream_is_no_answer(self):
        with pytest.raises(RouterError) as caught:
            WholeAnswer(COHERE, WHO, "", RULES).translate(json.dumps(TALK[5]).encode())
        assert caught.value.code == "malformed_json"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "type",
                        "delta",
                        "message",
                        "content",
                        "text",
                        "thinking",
                        "tool_calls",
                        "function",
                    ),
                    *("name", "arguments", "citations", "usage", "tokens", "input_tokens", "index"),
                    *("finish_reason", "id", "tool_plan", "error"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
KINDS = st.sampled_from([record["type"] for record in [*TALK, *CALLS]])
RECORDS = st.builds(lambda kind, delta: {"type": kind, "delta": delta}, KINDS, JSON) | st.builds(
    lambda kind, message: {"type": kind, "delta": {"message": message}}, KINDS, JSON
)


@given(st.lists(RECORDS | JSON, max_size=4))
def test_json_of_any_shape_raises_nothing_but_our_own_errors(records):
    reader = AnswerReader(COHERE, WHO, "", RULES)
    reader.receive_data(sse(records))
    reader.receive_eof()
    for record in records:
        for one in (record, {"finish_reason": "COMPLETE", "message": record, "usage": record}):
            with contextlib.suppress(RouterError):
                WholeAnswer(COHERE, WHO, "", RULES).translate(json.dumps(one).encode())


@given(st.sampled_from([TALK, CALLS]), st.lists(RECORDS, max_size=2), cuts(900))
def test_no_cut_changes_what_a_stream_says(talk, more, offsets):
    def outcome(places):
        reader = AnswerReader(COHERE, WHO, "", RULES)
        pieces = at_offsets(sse([*talk[:-1], *more, talk[-1]]), places)
        items = [item for piece in pieces for item in reader.receive_data(piece)]
        items += reader.receive_eof()
        return [item.chunk for item in items], repr(reader.failure)

    assert repr(outcome(offsets)) == repr(outcome([]))
