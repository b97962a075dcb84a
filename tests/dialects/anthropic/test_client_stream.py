from __future__ import annotations

import json

import pytest

from tests.dialects.anthropic import naive
from tests.dialects.anthropic.naive import WHO
from trio_router.dialects.anthropic import MessagesClient
from trio_router.errors import (
    InternalError,
    InvalidRequest,
    ModelNotFound,
    NetworkError,
    Overloaded,
    RequestTooLarge,
    StreamError,
    Unauthorized,
    UpstreamStatus,
    UpstreamTimeout,
)

MESSAGES = MessagesClient()


def chunk(delta, finish=None, **extra):
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **extra}
    return {"id": "chatcmpl-x", "model": "gpt", "choices": [choice]}


def usage(**fields):
    return {"id": "chatcmpl-x", "model": "gpt", "choices": [], "usage": fields}


def call(index, arguments, id_=None, name=None):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function} | ({"id": id_} if id_ else {})


def calls(*pieces):
    return chunk({"tool_calls": list(pieces)})


def read(*chunks):
    encoder = MESSAGES.encoder(WHO, {})
    frames = naive.frames(b"".join(map(encoder.encode, chunks)) + encoder.finish())
    naive.check_grammar(frames)
    return [event for _, event in frames]


def whole(*chunks):
    return naive.message(read(*chunks))


def streamed(*chunks):
    """What is out before the end."""
    encoder = MESSAGES.encoder(WHO, {})
    return [event for _, event in naive.frames(b"".join(map(encoder.encode, chunks)))]


class TestStream:
    def test_the_sequence_of_events_to_the_letter(self):
        encoder = MESSAGES.encoder(WHO, {})
        out = encoder.encode(chunk({"role": "assistant", "content": ""}))
        out += encoder.encode(chunk({"content": "Hé"}))
        out += encoder.encode(chunk({}, "stop"))
        out += encoder.encode(usage(prompt_tokens=3, completion_tokens=5))
        out += encoder.finish()
        assert out.decode() == (
            'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_7",'
            '"type":"message","role":"assistant","model":"gpt","content":[],"stop_reason":null,'
            '"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,'
            '"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
            'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
            '"content_block":{"type":"text","text":""}}\n\n'
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            '"delta":{"type":"text_delta","text":"Hé"}}\n\n'
            'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
            '"stop_sequence":null},"usage":{"input_tokens":3,"cache_creation_input_tokens":0,'
            '"cache_read_input_tokens":0,"output_tokens":5}}\n\n'
            'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        )

    def test_an_upstreams_own_message_id_is_kept(self):
        assert whole({**chunk({"content": "x"}), "id": "msg_01X"})["id"] == "msg_01X"

    def test_nothing_goes_out_before_a_choice(self):
        encoder = MESSAGES.encoder(WHO, {})
        assert encoder.encode({"id": "", "model": "", "choices": []}) == b""

    def test_an_answer_of_nothing_is_a_message_all_the_same(self):
        assert whole()["content"] == []
        assert whole()["model"] == WHO.model

    def test_cached_and_reasoning_tokens(self):
        counts = usage(
            prompt_tokens=10,
            completion_tokens=5,
            prompt_tokens_details={"cached_tokens": 4, "cache_creation_tokens": 1},
            completion_tokens_details={"reasoning_tokens": 2},
        )
        assert whole(chunk({"content": "x"}), counts)["usage"] == {
            "input_tokens": 5,
            "cache_creation_input_tokens": 1,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
        }

    @pytest.mark.parametrize(
        ("finish", "native", "reason"),
        [
            ("stop", None, "end_turn"),
            ("length", None, "max_tokens"),
            ("content_filter", None, "refusal"),
            ("tool_calls", None, "tool_use"),
            ("stop", "pause_turn", "pause_turn"),
            ("stop", "stop_sequence", "stop_sequence"),
            ("stop", "STOP", "end_turn"),
            ("something", None, "end_turn"),
            (None, None, None),  # none is made up
        ],
    )
    def test_the_finish_reason_is_the_stop_reason(self, finish, native, reason):
        last = chunk({}, finish, native_finish_reason=native)
        assert whole(chunk({"content": "x"}), last)["stop_reason"] == reason

    def test_an_answer_with_calls_stopped_for_them(self):
        piece = calls(call(0, "{}", "c", "f"))
        assert whole(piece, chunk({}, "stop"))["stop_reason"] == "tool_use"
        assert whole(piece, chunk({}, "length"))["stop_reason"] == "max_tokens"

    def test_text_after_the_finish_is_not_lost(self):
        told = whole(chunk({"content": "a"}, "stop"), chunk({"content": "b"}))
        assert naive.text(told) == "ab"

    def test_only_the_first_choice_is_told(self):
        other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
        told = whole(chunk({"content": "a"}, "stop"), other)
        assert (naive.text(told), told["stop_reason"]) == ("a", "end_turn")

    def test_a_refusal_is_told_as_text(self):
        assert naive.text(whole(chunk({"refusal": "I "}), chunk({"refusal": "won't"}))) == "I won't"

    def test_content_in_parts(self):
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "so"},
        ]
        told = whole(chunk({"content": parts}))
        assert (naive.thinking(told), naive.text(told)) == ("hm", "so")

    def test_odd_chunks_are_no_fault(self):
        odd = [
            {"choices": None},
            {"choices": [7, {"index": 0, "delta": None}, {"delta": 7}]},
            chunk({"content": 7, "tool_calls": 7, "reasoning_details": 7, "citations": 7}),
            chunk({"tool_calls": [7, {"function": 7}, {"index": [], "id": 7}]}),
            chunk({"reasoning_details": [7, {}], "anthropic_content": [7, {"type": 7}]}),
        ]
        assert whole(*odd, chunk({"content": "x"}, "stop"))["stop_reason"]


class TestThinking:
    def test_reasoning_comes_in_a_block_of_its_own(self):
        told = whole(
            chunk({"reasoning_content": "h"}), chunk({"reasoning": "m"}), chunk({"content": "so"})
        )
        assert told["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "so"},
        ]

    def test_details_say_the_same_and_are_not_told_twice(self):
        def detail(index, **fields):
            piece = {
                "type": "reasoning.text",
                "index": index,
                "format": "anthropic-claude-v1",
                **fields,
            }
            return chunk({"reasoning_content": fields.get("text"), "reasoning_details": [piece]})

        told = whole(
            detail(0, text="a"),
            detail(0, text="", signature="s1"),
            detail(1, text="b"),
            detail(1, text="", signature="s2"),
            chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]}),
        )
        assert told["content"] == [
            {"type": "thinking", "thinking": "a", "signature": "s1"},
            {"type": "thinking", "thinking": "b", "signature": "s2"},
            {"type": "redacted_thinking", "data": "d"},
        ]


class TestCalls:
    def test_a_call_goes_out_as_it_comes(self):
        events = streamed(calls(call(0, "", "c", "f")), calls(call(0, '{"a"')), calls(call(0, ":1}")))
        deltas = [e["delta"]["partial_json"] for e in events if e["type"] == "content_block_delta"]
        assert deltas == ['{"a"', ":1}"]

    def test_calls_after_one_another(self):
        pieces = [calls(call(i, '{"a":1}', f"c{i}", "f")) for i in range(3)]
        assert naive.calls(whole(*pieces)) == [(f"c{i}", "f", {"a": 1}) for i in range(3)]
        stops = [e for e in streamed(*pieces) if e["type"] == "content_block_stop"]
        assert len(stops) == 2, "a whole call does not wait for the end"

    def test_calls_that_interleave_come_out_as_whole_blocks(self):
        told = whole(
            calls(call(0, "", "c0", "f"), call(1, "", "c1", "g")),
            calls(call(1, '{"b"')),
            calls(call(0, '{"a"')),
            chunk({"content": "between"}),
            calls(call(1, ":2}")),
            calls(call(0, ":1}")),
            chunk({}, "tool_calls"),
        )
        assert naive.calls(told) == [("c0", "f", {"a": 1}), ("c1", "g", {"b": 2})]
        assert naive.text(told) == "between"

    def test_a_call_cut_off_keeps_what_came_and_so_does_what_waits_behind_it(self):
        events = read(calls(call(0, '{"a', "c0", "f")), chunk({"content": "x"}), chunk({}, "length"))
        deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
        assert deltas == [
            {"type": "input_json_delta", "partial_json": '{"a'},
            {"type": "text_delta", "text": "x"},
        ]

    def test_a_call_without_arguments(self):
        assert naive.calls(whole(calls(call(0, "", "c", "f")))) == [("c", "f", {})]
        assert naive.calls(whole(calls(call(0, None, "c", "f")))) == [("c", "f", {})]

    def test_calls_without_index_or_id(self):
        told = whole(
            calls({"id": "a", "function": {"name": "f", "arguments": "{}"}}),
            calls({"id": "b", "function": {"name": "g", "arguments": {"x": 1}}}),
            calls({"function": {"name": "h", "arguments": '{"y"'}}),
            calls({"function": {"arguments": ":2}"}}),
        )
        assert naive.calls(told) == [("a", "f", {}), ("b", "g", {"x": 1}), ("toolu_7_2", "h", {"y": 2})]

    def test_calls_that_share_an_index_are_told_apart_by_their_ids(self):
        told = whole(calls(call(0, "{}", "a", "f")), calls(call(0, '{"x":1}', "b", "f")))
        assert naive.calls(told) == [("a", "f", {}), ("b", "f", {"x": 1})]

    def test_arguments_that_are_no_object_are_wrapped(self):
        told = whole(
            calls(call(0, "not ", "c", "f")), calls(call(0, "json")), calls(call(1, "[]", "d", "f"))
        )
        assert naive.calls(told) == [
            ("c", "f", {"INVALID_JSON": "not json"}),
            ("d", "f", {"INVALID_JSON": "[]"}),
        ]

    def test_a_name_that_comes_late_is_waited_for(self):
        told = whole(calls(call(0, "", "c")), calls(call(0, "{}", None, "f")))
        assert naive.calls(told) == [("c", "f", {})]

    def test_an_empty_call_of_the_old_kind_is_none(self):
        told = whole(chunk({"content": "x", "function_call": {"name": "", "arguments": ""}}, "stop"))
        assert (naive.calls(told), told["stop_reason"]) == ([], "end_turn")

    def test_a_function_call_of_the_old_kind(self):
        told = whole(
            chunk({"function_call": {"name": "f", "arguments": '{"a"'}}),
            chunk({"function_call": {"arguments": ":1}"}}, "function_call"),
        )
        assert naive.calls(told) == [("toolu_7_0", "f", {"a": 1})]
        assert told["stop_reason"] == "tool_use"


class TestWhole:
    MESSAGE = {
        "role": "assistant",
        "content": "so",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"type": "function", "function": {"name": "g", "arguments": "oops"}},
        ],
    }

    def test_an_answer(self):
        completion = {
            "id": "chatcmpl-x",
            "model": "gpt",
            "choices": [{"index": 0, "message": self.MESSAGE, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5},
        }
        assert MESSAGES.answer(completion, WHO, {}) == {
            "id": "msg_7",
            "type": "message",
            "role": "assistant",
            "model": "gpt",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
                {
                    "type": "tool_use",
                    "id": "toolu_7_1",
                    "name": "g",
                    "input": {"INVALID_JSON": "oops"},
                },
            ],
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 5,
            },
        }

    def test_a_refusal_and_an_answer_of_nothing(self):
        refusal = {"choices": [{"index": 0, "message": {"content": None, "refusal": "no"}}]}
        assert naive.text(MESSAGES.answer(refusal, WHO, {})) == "no"
        assert MESSAGES.answer({"choices": []}, WHO, {})["content"] == []

    def test_an_outline_that_does_not_fit_loses_nothing(self):
        served = {"type": "server_tool_use", "id": "s", "name": "n", "input": {}}
        outline = [{"index": 0, "type": "text", "length": 99}, {"index": 1, **served}]
        message = {**self.MESSAGE, "anthropic_content": outline}
        content = MESSAGES.answer({"choices": [{"message": message}]}, WHO, {})["content"]
        kinds = [block["type"] for block in content]
        assert kinds == ["thinking", "server_tool_use", "text", "tool_use", "tool_use"]


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (InvalidRequest("m"), "invalid_request_error"),
            (Unauthorized("m"), "authentication_error"),
            (UpstreamStatus("m", status=403, code="x"), "permission_error"),
            (ModelNotFound("m"), "not_found_error"),
            (RequestTooLarge("m"), "request_too_large"),
            (UpstreamStatus("m", status=429, code="x"), "rate_limit_error"),
            (UpstreamStatus("m", status=422, code="x"), "invalid_request_error"),
            (UpstreamStatus("m", status=400, code="billing_error"), "billing_error"),
            (InternalError("m"), "api_error"),
            (StreamError("m"), "api_error"),
            (NetworkError("m"), "overloaded_error"),
            (Overloaded("m"), "overloaded_error"),
            (UpstreamStatus("m", status=529, code="x"), "overloaded_error"),
            (UpstreamTimeout("p", "read", 1), "timeout_error"),
        ],
    )
    def test_types_are_the_apis_own(self, error, kind):
        body = MESSAGES.error_body(error)
        assert body == {"type": "error", "error": {"type": kind, "message": error.message}}

    def test_a_stream_fails_with_an_error_event_and_nothing_after_it(self):
        encoder = MESSAGES.encoder(WHO, {})
        encoder.encode(chunk({"content": "x"}))
        ((name, event),) = naive.frames(encoder.fail(Overloaded("full")))
        assert name == "error"
        assert event == {"type": "error", "error": {"type": "overloaded_error", "message": "full"}}

    def test_silence_is_bridged_by_a_ping(self):
        assert MESSAGES.encoder(WHO, {}).keepalive == b'event: ping\ndata: {"type":"ping"}\n\n'
        assert json.loads(MESSAGES.encoder(WHO, {}).keepalive.split(b"data: ")[1])["type"] == "ping"
