from __future__ import annotations

from hypothesis import given, strategies as st

from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold
from trio_router.dialects.openai.dialect import completion_to_chunks

WHO = AnswerIdentity("id", 1, "m")
text = st.text(max_size=8)
message = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": text},
    optional={
        "reasoning_content": text.filter(bool),
        "refusal": st.none(),
        "tool_calls": st.lists(
            st.builds(
                lambda number, name, arguments: {
                    "id": f"c{number}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                },
                st.integers(0, 99),
                text.filter(bool),
                text,
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda c: c["id"],
        ),
        "annotations": st.lists(
            st.dictionaries(st.sampled_from("ab"), text, min_size=1), min_size=1, max_size=2
        ),
    },
)


@given(st.lists(message, min_size=1, max_size=3), st.sampled_from(["stop", "length", "tool_calls"]))
def test_a_whole_answer_made_a_stream_and_folded_is_the_same_answer(messages, finish):
    completion = {
        "id": "x",
        "created": 5,
        "model": "m",
        "object": "chat.completion",
        "system_fingerprint": "fp",
        "choices": [
            {"index": i, "message": m, "finish_reason": finish} for i, m in enumerate(messages)
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    fold = Fold(WHO)
    for chunk in completion_to_chunks(completion):
        fold.add(chunk)
    assert fold.completion() == completion


def test_arguments_of_parallel_calls_are_joined_each_by_its_index():
    fold = Fold(WHO)
    pieces = [
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}],
        [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}],
        [{"index": 0, "function": {"arguments": '{"x"'}}, {"index": 1, "function": {"arguments": "}"}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
    ]
    for calls in pieces:
        fold.add({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]})
    calls = fold.completion()["choices"][0]["message"]["tool_calls"]
    assert [c["function"]["arguments"] for c in calls] == ['{"x":1}', "{}"]
    assert [c["id"] for c in calls] == ["a", "b"]


def test_chunks_are_left_as_they_are():
    chunk = {
        "choices": [
            {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "a"}}]}}
        ]
    }
    fold = Fold(WHO)
    fold.add(chunk)
    fold.add(chunk)
    fold.completion()
    assert chunk == {
        "choices": [
            {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "a"}}]}}
        ]
    }


def test_nulls_and_empty_deltas_lose_nothing():
    fold = Fold(WHO)
    for delta in ({"content": None}, None, {"content": "a"}, {"content": None}, {"content": "b"}):
        fold.add({"choices": [{"index": 0, "delta": delta}]})
    assert fold.completion()["choices"][0]["message"]["content"] == "ab"


def test_content_that_turns_from_thoughts_in_parts_to_text_keeps_both():
    def thought(piece):
        return [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]

    fold = Fold(WHO)
    for content in ("", thought("Hm"), thought("m."), "Four", ", I ", "think."):
        fold.add({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]})
    assert fold.completion()["choices"][0]["message"]["content"] == [
        *thought("Hmm."),
        {"type": "text", "text": "Four, I think."},
    ]
