"""Answers of any upstream as clients of Ollama's API get them."""

from __future__ import annotations

import json

import pytest

from trio_router.dialects import OLLAMA_CLIENTS
from trio_router.dialects.base import AnswerIdentity
from trio_router.errors import InvalidRequest, StreamError

CHAT, GENERATE = OLLAMA_CLIENTS["/api/chat"], OLLAMA_CLIENTS["/api/generate"]
IDENTITY = AnswerIdentity("chatcmpl-1", 1_700_000_000, "p/m")
TIME = "2023-11-14T22:13:20Z"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def chunk(delta: dict | None = None, finish: str | None = None, **fields) -> dict:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"model": "m", "choices": [choice], **fields}


def streamed(*chunks, client=CHAT, identity=IDENTITY) -> list[dict]:
    encoder = client.encoder(identity, {})
    body = b"".join([*map(encoder.encode, chunks), encoder.finish()])
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.split(b"\n")[:-1]]


def answered(message: dict, client=CHAT, **fields) -> dict:
    choice = {"index": 0, "message": message, "finish_reason": "stop", **fields}
    return client.answer({"model": "m", "choices": [choice], "usage": USAGE}, IDENTITY, {})


def record(message: dict, **fields) -> dict:
    told = {"role": "assistant", "content": "", **message}
    return {"model": "m", "created_at": TIME, "message": told, "done": False, **fields}


def test_a_stream_of_text_is_a_record_for_each_piece_and_one_for_the_end():
    chunks = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hé"}), chunk({}, "stop")]
    assert streamed(*chunks, {"choices": [], "usage": USAGE}) == [
        record({"content": "Hé"}),
        record({}, done=True, done_reason="stop", prompt_eval_count=11, eval_count=7),
    ]


def test_a_stream_to_generate_tells_its_text_as_the_response():
    chunks = [chunk({"content": "a", "reasoning_content": "t"}), chunk({}, "length")]
    frame = {"model": "m", "created_at": TIME}
    assert streamed(*chunks, client=GENERATE) == [
        {**frame, "response": "a", "thinking": "t", "done": False},
        {**frame, "response": "", "done": True, "done_reason": "length"},
    ]


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "t"},
        {"reasoning": "t"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "t"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]},
    ],
)
def test_reasoning_is_told_as_thinking_wherever_it_stands(delta):
    assert streamed(chunk(delta))[0]["message"] == {
        "role": "assistant",
        "content": "",
        "thinking": "t",
    }


def test_a_refusal_is_told_as_text():
    assert streamed(chunk({"refusal": "No."}))[0]["message"]["content"] == "No."


def pieces(index: int, name: str, *arguments: str, own: str = "x") -> list[dict]:
    first = {"index": index, "id": f"{own}{index}", "function": {"name": name, "arguments": ""}}
    rest = [{"index": index, "function": {"arguments": text}} for text in arguments]
    return [chunk({"tool_calls": [piece]}) for piece in [first, *rest]]


def test_calls_go_out_whole_with_their_arguments_as_objects():
    calls = [*pieces(0, "a", '{"n"', ": 1}"), *pieces(1, "b")]
    told = streamed(*calls, chunk({}, "tool_calls"))
    assert [r["message"].get("tool_calls") for r in told] == [
        [
            {"id": "x0", "function": {"index": 0, "name": "a", "arguments": {"n": 1}}},
            {"id": "x1", "function": {"index": 1, "name": "b", "arguments": {}}},
        ],
        None,
    ]
    assert told[-1]["done_reason"] == "stop"  # the API has no other word for it


def test_calls_whose_pieces_alternate_are_put_together():
    first, second = pieces(0, "a", '{"n":', "1}"), pieces(1, "b", '{"n":', "2}")
    mixed = [piece for pair in zip(first, second, strict=True) for piece in pair]
    calls = streamed(*mixed, chunk({}, "tool_calls"))[0]["message"]["tool_calls"]
    assert [c["function"]["arguments"] for c in calls] == [{"n": 1}, {"n": 2}]


def test_arguments_that_are_no_object_are_told_in_one():
    calls = streamed(*pieces(0, "a", "[1]"), chunk({}, "tool_calls"))[0]["message"]["tool_calls"]
    assert calls[0]["function"]["arguments"] == {"INVALID_JSON": "[1]"}


def test_a_call_of_a_stream_that_breaks_is_never_told():
    encoder = CHAT.encoder(IDENTITY, {})
    said = b"".join(map(encoder.encode, pieces(0, "a", '{"n": 1}')))
    assert said + encoder.fail(StreamError("gone")) == b'{"error":"gone"}\n'


def test_text_that_came_before_the_calls_stands_before_them():
    chunks = [chunk({"content": "Let me see."}), *pieces(0, "a", "{}"), chunk({}, "tool_calls")]
    told = streamed(*chunks)
    assert [bool(r["message"].get("tool_calls")) for r in told] == [False, True, False]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("content_filter", "content_filter"),
    ],
)
def test_the_end_tells_why_the_answer_ended(finish, reason):
    assert streamed(chunk({"content": "a"}, finish))[-1]["done_reason"] == reason
    assert answered({"content": "a"}, finish_reason=finish)["done_reason"] == reason


def test_what_the_upstream_did_not_say_is_left_out():
    last = streamed(chunk({"content": "a"}))[-1]
    assert last == record({}, done=True)


def test_the_duration_is_the_measured_one():
    identity = AnswerIdentity("chatcmpl-1", 1, "p/m", lambda: 1.5)
    assert streamed(chunk({"content": "a"}), identity=identity)[-1]["total_duration"] == 1_500_000_000


def test_log_probabilities_stand_beside_the_text():
    found = [{"token": "a", "logprob": -0.1, "top_logprobs": []}]
    said = chunk({"content": "a"})
    said["choices"][0]["logprobs"] = {"content": found}
    assert streamed(said)[0]["logprobs"] == found


def test_only_the_first_choice_is_told():
    other = {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}
    assert streamed(other) == [{**record({}, done=True), "model": "p/m"}]


@pytest.mark.parametrize("created", [None, True, -1, 1 << 60, "now"])
def test_a_time_that_is_none_is_the_answers_own(created):
    assert streamed(chunk({"content": "a"}, created=created))[0]["created_at"] == TIME


def test_a_whole_answer_is_one_record():
    call = {"id": "x", "type": "function", "function": {"name": "a", "arguments": '{"n":1}'}}
    message = {"content": "A", "reasoning_content": "t", "tool_calls": [call]}
    told = [{"id": "x", "function": {"index": 0, "name": "a", "arguments": {"n": 1}}}]
    counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 7}
    assert answered(message) == record({"content": "A", "thinking": "t", "tool_calls": told}) | counts
    assert answered({"content": "A"}, client=GENERATE) == {
        "model": "m",
        "created_at": TIME,
        "response": "A",
        **counts,
    }


@pytest.mark.parametrize("client", [CHAT, GENERATE])
def test_errors_are_a_text(client):
    error = InvalidRequest("no", param="model")
    assert client.error_body(error) == {"error": "no"}
    assert client.encoder(IDENTITY, {}).fail(error) == b'{"error":"no"}\n'


@pytest.mark.parametrize("path", ["/api/chat", "/api/tags", "/api/none"])
def test_the_api_owns_all_its_paths(path):
    assert CHAT.owns(path)
    assert not CHAT.owns("/apis")


@pytest.mark.parametrize(
    ("keep_alive", "reason"), [(None, "load"), ("5m", "load"), (0, "unload"), ("0s", "unload")]
)
def test_a_request_that_only_loads_a_model_is_answered_as_such(keep_alive, reason):
    told = CHAT.idle_answer({"model": "m", "keep_alive": keep_alive}, IDENTITY)
    assert told == record({}, done=True, done_reason=reason)
