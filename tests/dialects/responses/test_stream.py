from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.dialects.responses.naive import WHO, check, frames, said
from trio_router.dialects.fold import Fold
from trio_router.dialects.responses import ResponsesClient
from trio_router.errors import RouterError, StreamError, UpstreamStatus

RESPONSES = ResponsesClient()
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
EVENT = TypeAdapter(ResponseStreamEvent)


def chunk(delta, finish=None, **extra):
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **extra}
    return {"id": "chatcmpl-x", "model": "m", "choices": [choice]}


def call(index, arguments="", call_id=None, name=None):
    piece = {"index": index, "function": {"arguments": arguments}}
    if call_id is not None:
        piece |= {"id": call_id, "type": "function"}
        piece["function"]["name"] = name
    return piece


def streamed(chunks, body=None, error: RouterError | None = None):
    encoder = RESPONSES.encoder(WHO, body or {})
    data = b"".join(encoder.encode(c) for c in chunks)
    data += encoder.fail(error) if error else encoder.finish()
    return check(frames(data)), frames(data)


def whole(chunks, body=None):
    fold = Fold(WHO)
    for one in json.loads(json.dumps(chunks)):
        fold.add(one)
    return RESPONSES.answer(fold.completion(), WHO, body or {})


@st.composite
def deltas(draw):
    """Pieces of reasoning, text and parallel calls, the calls' pieces mixed."""
    reasoning = [{"reasoning_content": t} for t in draw(st.lists(TEXT, max_size=3))]
    texts = [{"content": t} for t in draw(st.lists(TEXT, max_size=4))]
    refusals = [{"refusal": t} for t in draw(st.lists(TEXT, max_size=2))]
    count = draw(st.integers(0, 3))
    begun = [{"tool_calls": [call(i, "", f"c{i}", f"f{i}")]} for i in range(count)]
    pieces = st.tuples(st.integers(0, max(0, count - 1)), TEXT)
    mixed = draw(st.lists(pieces, max_size=6)) if count else []
    arguments = [{"tool_calls": [call(i, t)]} for i, t in mixed]
    return [{"role": "assistant", "content": ""}, *reasoning, *texts, *refusals, *begun, *arguments]


FINISH = st.sampled_from(["stop", "length", "content_filter", "tool_calls", None])
BODIES = st.sampled_from([{}, {"reasoning": {"summary": "auto"}, "stream": True}])


@given(deltas(), FINISH, BODIES)
def test_a_stream_is_well_formed_and_ends_in_what_the_whole_answer_is(said_by, finish, body):
    chunks = [chunk(d) for d in said_by] + [chunk({}, finish)]
    checked, events = streamed(chunks, body)
    assert checked.response == whole(chunks, body)
    Response.model_validate(checked.response, strict=True)
    for event in events:
        EVENT.validate_python(event)


@given(st.lists(deltas(), max_size=3), FINISH)
def test_pieces_in_any_order_lose_nothing(rounds, finish):
    """Text may go on after calls, and reasoning after text: items follow one another as they came."""
    flat = [d for one in rounds for d in one]
    checked, _ = streamed([chunk(d) for d in flat] + [chunk({}, finish)])
    told = said(checked.response)
    assert told["text"] == "".join(d.get("content", "") for d in flat)
    assert told["reasoning"] == "".join(d.get("reasoning_content", "") for d in flat)
    assert told["refusal"] == "".join(d.get("refusal", "") for d in flat)
    expected: dict = {}
    for piece in (p for d in flat for p in d.get("tool_calls", ())):
        expected[piece["index"]] = expected.get(piece["index"], "") + piece["function"]["arguments"]
    got = {int(i[1:]): a for i, _, a in told["calls"]}
    assert got.keys() == expected.keys()
    for index, arguments in expected.items():
        mended = arguments + "{}"  # a call without arguments
        assert got[index] == arguments or (got[index] == mended and not arguments.strip())


@given(deltas(), st.integers(0, 12))
def test_a_fault_anywhere_ends_in_an_error_and_a_failed_response(said_by, after):
    error = StreamError("it broke")
    checked, events = streamed([chunk(d) for d in said_by[:after]], error=error)
    assert checked.response["status"] == "failed"
    assert checked.response["error"] == {"code": "server_error", "message": "it broke"}
    assert checked.error["error"] == error.body()["error"]
    for event in events:
        EVENT.validate_python(event)


class TestEvents:
    def test_their_order_for_a_plain_answer(self):
        usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
        checked, events = streamed([chunk({"content": "a"}), chunk({"content": "b"}, "stop"), usage])
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert checked.response["output"] == [
            {
                "id": "msg_7_0",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}],
            }
        ]
        assert checked.response["usage"] == {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        }

    def test_an_item_is_done_before_the_next_begins(self):
        _, events = streamed(
            [
                chunk({"reasoning": "hm"}),
                chunk({"content": "a"}),
                chunk({"tool_calls": [call(0, "{}", "c", "f")]}),
            ]
        )
        kinds = [
            e["type"].removeprefix("response.output_item.")
            for e in events
            if "output_item" in e["type"]
        ]
        assert kinds == ["added", "done"] * 3

    @pytest.mark.parametrize(
        ("finish", "status", "reason"),
        [
            ("stop", "completed", None),
            ("tool_calls", "completed", None),
            (None, "incomplete", ...),  # none is made up
            ("length", "incomplete", "max_output_tokens"),
            ("content_filter", "incomplete", "content_filter"),
        ],
    )
    def test_the_status_is_what_the_finish_reason_says(self, finish, status, reason):
        checked, events = streamed([chunk({"content": "a"}), chunk({}, finish)])
        assert events[-1]["type"] == f"response.{status}"
        details = {"reason": None if reason is ... else reason}
        assert checked.response["incomplete_details"] == (reason and details)
        assert checked.response["output"][0]["status"] == status

    def test_a_name_that_comes_late_is_waited_for_and_an_id_is_made(self):
        late = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "1"}}]}
        checked, _ = streamed([chunk({"tool_calls": [call(0, "")]}), chunk(late)])
        assert said(checked.response)["calls"] == [("call_7_0", "f", "1")]

    def test_a_call_without_arguments_has_an_empty_object(self):
        checked, _ = streamed([chunk({"tool_calls": [call(0, "", "c", "f")]}, "tool_calls")])
        assert said(checked.response)["calls"] == [("c", "f", "{}")]

    def test_a_custom_tools_call_is_plain_text(self):
        first = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
        then = {"index": 0, "custom": {"input": " -l"}}
        checked, events = streamed([chunk({"tool_calls": [first]}), chunk({"tool_calls": [then]})])
        assert said(checked.response)["calls"] == [("c", "sh", "ls -l")]
        assert checked.response["output"][0]["type"] == "custom_tool_call"
        assert events[-3]["type"] == "response.custom_tool_call_input.done"

    def test_annotations_are_flat_and_logprobs_are_kept(self):
        cited = {"start_index": 0, "end_index": 1, "title": "t", "url": "https://x"}
        annotation = {"type": "url_citation", "url_citation": cited}
        logprobs = {"content": [{"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
        chunks = [
            chunk({"content": "a"}, logprobs=logprobs),
            chunk({"annotations": [annotation]}),
            chunk({}, "stop"),
        ]
        checked, _ = streamed(chunks)
        (part,) = checked.response["output"][0]["content"]
        assert part["annotations"] == [{"type": "url_citation", **cited}]
        assert part["logprobs"] == [{"token": "a", "logprob": -1.0, "bytes": [], "top_logprobs": []}]
        assert whole(chunks) == checked.response

    def test_reasoning_is_a_summary_for_who_asked_for_one(self):
        chunks = [chunk({"reasoning_content": "hm"}), chunk({"content": "a"})]
        plain, _ = streamed(chunks)
        summed, _ = streamed(chunks, {"reasoning": {"summary": "auto"}})
        assert plain.response["output"][0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
        assert summed.response["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]

    def test_a_stream_in_the_api_itself_fails_with_the_next_number(self):
        encoder = RESPONSES.encoder(WHO, {})
        _, events = streamed([chunk({"content": "a"})])
        assert all(encoder.passes(event) for event in events[:5])
        ((first), (last)) = frames(encoder.fail(UpstreamStatus("slow down", status=429, code="x")))
        assert [first["sequence_number"], last["sequence_number"]] == [5, 6]
        assert last["response"]["id"] == "resp_7"
        assert last["response"]["error"]["code"] == "rate_limit_exceeded"

    def test_the_request_is_told_again_and_nothing_is_stored(self):
        body = {
            "model": "any/m",
            "input": "?",
            "instructions": "be brief",
            "max_output_tokens": 9,
            "metadata": {"k": "v"},
            "store": True,
            "temperature": 0.5,
            "tool_choice": "required",
            "tools": [{"type": "function", "name": "f"}],
            "text": {"format": {"type": "json_object"}, "verbosity": "low"},
            "reasoning": {"effort": "low"},
            "user": "u",
        }
        checked, _ = streamed([chunk({"content": "a"})], body)
        told = checked.response
        same = (
            "instructions",
            "max_output_tokens",
            "metadata",
            "temperature",
            "tool_choice",
            "text",
            "user",
        )
        assert {name: told[name] for name in same} == {name: body[name] for name in same}
        assert told["reasoning"] == {"effort": "low", "summary": None}
        assert told["store"] is False
        Response.model_validate(told, strict=True)
