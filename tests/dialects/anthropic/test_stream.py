from __future__ import annotations

import json

import pytest

from tests.dialects.anthropic.naive import WHO
from trio_router.dialects.answer import stream_error
from trio_router.dialects.anthropic import AnthropicDialect
from trio_router.dialects.fold import Fold

ANTHROPIC = AnthropicDialect()
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}
STOP = {"type": "message_stop"}


def begin(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, kind, **fields):
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **fields}}


def end(index):
    return {"type": "content_block_stop", "index": index}


def done(reason, usage=None, **fields):
    return {"type": "message_delta", "delta": {"stop_reason": reason, **fields}, "usage": usage or {}}


def decoded(*events):
    decoder = ANTHROPIC.decoder(WHO)
    before = json.dumps(events)
    chunks = [chunk for event in events for chunk in decoder.decode(event)]
    assert json.dumps(events) == before, "records are left alone"
    assert decoder.is_done == (events[-1]["type"] in ("message_stop", "message"))
    return chunks


def folded(*events):
    fold = Fold(WHO)
    for chunk in decoded(*events):
        fold.add(chunk)
    return fold.completion()


def said(*events):
    return folded(START, *events, done("end_turn"), STOP)["choices"][0]["message"]


TEXT = [
    begin(0, type="text", text=""),
    delta(0, "text", text="He"),
    delta(0, "text", text="llo"),
    end(0),
]
TOOL = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}


class TestStream:
    def test_the_role_comes_first_and_once_and_a_ping_is_nothing(self):
        chunks = decoded({"type": "ping"}, START, *TEXT, {"type": "ping"}, done("end_turn"), STOP)
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
        assert deltas == [
            {"role": "assistant", "content": ""},
            {"content": "He"},
            {"content": "llo"},
            {},
        ]

    def test_every_chunk_has_openais_frame_with_the_upstreams_names(self):
        for chunk in decoded(START, *TEXT, done("end_turn"), STOP):
            assert chunk["object"] == "chat.completion.chunk"
            assert (chunk["id"], chunk["model"], chunk["created"]) == ("msg_1", "claude", WHO.created)

    def test_usage_comes_last_corrected_and_counts_what_was_cached(self):
        usage = {
            "input_tokens": 5,
            "cache_read_input_tokens": 10,
            "cache_creation_input_tokens": 20,
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 4},
            "server_tool_use": {"web_search_requests": 1},
        }
        last = decoded(START, *TEXT, done("end_turn", usage), STOP)[-1]
        assert last["choices"] == []
        assert last["usage"] == {
            "prompt_tokens": 35,
            "completion_tokens": 7,
            "total_tokens": 42,
            "prompt_tokens_details": {"cached_tokens": 10, "cache_creation_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 4},
            "server_tool_use": {"web_search_requests": 1},
        }

    def test_counts_not_said_again_stay(self):
        last = decoded(START, *TEXT, done("end_turn", {"output_tokens": 7}), STOP)[-1]
        assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (3, 7)

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("pause_turn", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
            ("something_new", "stop"),
        ],
    )
    def test_the_stop_reason_is_the_finish_reason(self, reason, finish):
        (choice,) = folded(START, *TEXT, done(reason), STOP)["choices"]
        assert choice["finish_reason"] == finish
        if reason not in ("end_turn", "max_tokens", "tool_use"):
            assert choice["native_finish_reason"] == reason

    def test_a_tool_call_comes_in_pieces(self):
        chunks = decoded(
            START,
            begin(0, **TOOL),
            delta(0, "input_json", partial_json=""),
            delta(0, "input_json", partial_json='{"a"'),
            delta(0, "input_json", partial_json=":1}"),
            end(0),
            done("tool_use"),
            STOP,
        )
        pieces = [c["choices"][0]["delta"].get("tool_calls") for c in chunks if c["choices"]]
        function = {"name": "add", "arguments": ""}
        assert [p for p in pieces if p] == [
            [{"index": 0, "id": "t1", "type": "function", "function": function}],
            [{"index": 0, "function": {"arguments": '{"a"'}}],
            [{"index": 0, "function": {"arguments": ":1}"}}],
        ]

    @pytest.mark.parametrize(("given", "told"), [({"a": 1}, '{"a":1}'), ({}, "{}"), (None, "{}")])
    def test_an_input_that_is_whole_in_the_start_is_kept(self, given, told):
        message = said(begin(0, **{**TOOL, "input": given}), end(0))
        assert message["tool_calls"][0]["function"]["arguments"] == told

    def test_parallel_calls_are_numbered_without_the_blocks_between_them(self):
        calls = said(*TEXT, begin(1, **TOOL), end(1), begin(2, **{**TOOL, "id": "t2"}), end(2))
        assert [call["id"] for call in calls["tool_calls"]] == ["t1", "t2"]

    def test_thinking_is_text_and_signed_details(self):
        message = said(
            begin(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking", thinking="h"),
            delta(0, "thinking", thinking="m"),
            delta(0, "signature", signature="s"),
            end(0),
            begin(1, type="redacted_thinking", data="d"),
            end(1),
            begin(2, type="text", text="so"),
            end(2),
        )
        assert message["reasoning_content"] == "hm"
        form = {"format": "anthropic-claude-v1"}
        assert message["reasoning_details"] == [
            {"type": "reasoning.text", "text": "hm", "signature": "s", **form, "index": 0},
            {"type": "reasoning.encrypted", "data": "d", **form, "index": 1},
        ]
        assert message["content"] == "so"

    def test_what_the_server_did_is_kept_in_its_place(self):
        use = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
        found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u"}]}
        message = said(
            *TEXT,
            begin(1, **use),
            delta(1, "input_json", partial_json='{"query":"x"}'),
            end(1),
            begin(2, **found),
            end(2),
            begin(3, type="text", text=""),
            delta(3, "text", text="!"),
            delta(3, "citations", citation={"type": "web_search_result_location", "url": "u"}),
            end(3),
        )
        assert message["content"] == "Hello!"
        assert message["citations"] == [{"type": "web_search_result_location", "url": "u"}]
        assert message["anthropic_content"] == [
            {"index": 0, "type": "text", "length": 5},
            {"index": 1, **use, "input": {"query": "x"}},
            {"index": 2, **found},
            {"index": 3, "type": "text", "length": 1, "citations": 1},
        ]

    def test_a_refusals_words_and_details_are_kept(self):
        details = {"type": "refusal", "category": "bio", "explanation": "no"}
        (choice,) = folded(START, *TEXT, done("refusal", stop_details=details), STOP)["choices"]
        assert choice["message"]["refusal"] == "no"
        assert choice["stop_details"] == details

    def test_the_stop_sequence_is_kept(self):
        event = done("stop_sequence", stop_sequence="END")
        (choice,) = folded(START, *TEXT, event, STOP)["choices"]
        assert choice["stop_sequence"] == "END"


class TestOddities:
    def test_text_is_not_lost_whatever_is_missing_around_it(self):
        alone = decoded(delta(4, "text", text="x"))
        assert alone[0]["choices"][0]["delta"] == {"role": "assistant", "content": "x"}
        assert alone[0]["id"] == WHO.id
        late = decoded(START, done("end_turn"), begin(0, type="text", text="late"), STOP)
        assert {"content": "late"} in [c["choices"][0]["delta"] for c in late if c["choices"]]

    def test_a_stop_reason_that_is_not_told_is_not_made_up_and_no_input_either(self):
        (choice,) = folded(START, begin(0, **TOOL), STOP)["choices"]
        assert choice["finish_reason"] is None
        assert choice["message"]["tool_calls"][0]["function"]["arguments"] == ""

    def test_usage_comes_even_if_the_last_delta_has_none(self):
        last = decoded(
            START, *TEXT, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, STOP
        )
        assert last[-1]["usage"]["prompt_tokens"] == 3

    def test_unknown_events_and_deltas_are_no_fault(self):
        assert decoded({"type": "news"}, delta(0, "news", x=1), end(7)) == []
        kept = said(begin(0, type="novel", text="a"), delta(0, "novel", text="b", more=1), end(0))
        assert kept["anthropic_content"] == [{"index": 0, "type": "novel", "text": "ab", "more": 1}]

    def test_broken_input_of_the_servers_tool_is_kept_as_text(self):
        block = {"type": "server_tool_use", "id": "s", "name": "n", "input": {}}
        kept = said(begin(0, **block), delta(0, "input_json", partial_json='{"a'), end(0))
        assert kept["anthropic_content"] == [{"index": 0, **block, "partial_json": '{"a'}]

    @pytest.mark.parametrize(
        "event",
        [
            {"type": "message_start"},
            {"type": "message_start", "message": 7},
            {"type": "content_block_start", "index": 0, "content_block": None},
            {"type": "content_block_delta", "index": 0, "delta": []},
            {"type": "content_block_start", "index": [], "content_block": {"type": "text"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}},
            {"type": "message", "content": 7},
        ],
    )
    def test_a_wrong_shape_is_what_the_caller_expects(self, event):
        with pytest.raises((TypeError, KeyError, AttributeError, ValueError)):
            ANTHROPIC.decoder(WHO).decode(event)

    def test_an_error_event_is_the_callers(self):
        event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        assert not ANTHROPIC.recognises(event)
        assert stream_error(event).message == "Overloaded"


def test_a_whole_message_is_a_stream_of_one_record():
    whole = {
        **START["message"],
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Hello"},
            {**TOOL, "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 7},
    }
    streamed = folded(
        START,
        begin(0, type="thinking", thinking=""),
        delta(0, "thinking", thinking="hm"),
        delta(0, "signature", signature="s"),
        end(0),
        begin(1, type="text", text=""),
        delta(1, "text", text="Hello"),
        end(1),
        begin(2, **TOOL),
        delta(2, "input_json", partial_json='{"a":1}'),
        end(2),
        done("tool_use", {"output_tokens": 7}),
        STOP,
    )
    assert ANTHROPIC.completion(whole, WHO) == folded(whole) == streamed


def test_a_lone_event_is_no_whole_answer():
    with pytest.raises(ValueError, match="no whole answer"):
        ANTHROPIC.completion({"type": "ping"}, WHO)
