"""What tells conversations apart, in every client's API."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from trio_router.dialects.conversations import continued_by, conversation_of

SYSTEM, HELLO = "You are kind.", "Hello!"
TEXT = [{"type": "text", "text": HELLO, "cache_control": {"type": "ephemeral"}}]
# The same beginning, as each API's clients write it, with what may come after it.
SAME = {
    "chat": {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": HELLO}],
        "temperature": 0.5,
    },
    "chat, later": {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": SYSTEM}]},
            {"role": "user", "content": [{"type": "text", "text": HELLO}]},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "And now?"},
        ]
    },
    "messages": {"system": SYSTEM, "messages": [{"role": "user", "content": TEXT}]},
    "messages, later": {
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": HELLO},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
            {"role": "user", "content": TEXT},
        ],
    },
    "messages of Claude Code": {
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=a1b2c;"},
            {"type": "text", "text": SYSTEM},
        ],
        "messages": [{"role": "user", "content": HELLO}],
    },
    "responses": {"instructions": SYSTEM, "input": HELLO},
    "responses, later": {
        "instructions": SYSTEM,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": HELLO}]},
            {"type": "reasoning", "encrypted_content": "x"},
            {"role": "user", "content": "And now?"},
        ],
    },
    "responses with a developer": {
        "input": [
            {"role": "developer", "content": SYSTEM},
            {"role": "user", "content": [{"type": "input_text", "text": HELLO}]},
        ]
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "contents": [{"parts": [{"text": HELLO}]}],
    },
    "gemini, later": {
        "system_instruction": {"role": "user", "parts": [{"text": SYSTEM}]},
        "contents": [
            {"role": "user", "parts": [{"text": HELLO}]},
            {"role": "model", "parts": [{"text": "Hi."}]},
        ],
    },
    "ollama": {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": HELLO}]},
    "ollama generate": {"system": SYSTEM, "prompt": HELLO},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "parts", "type", "images", "id", "x"]),
            inner | st.sampled_from(["user", "system"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)
FIELDS = ["system", "instructions", "systemInstruction", "messages", "input", "contents", "prompt"]
BODIES = st.dictionaries(
    st.sampled_from([*FIELDS, "conversation", "prompt_cache_key", "previous_response_id"]), JSON
)


def asked(body, *headers: tuple[bytes, bytes]) -> str | None:
    return conversation_of(headers, body)


def said(text: str, system: str = "") -> str | None:
    return asked({"system": system, "messages": [{"role": "user", "content": text}]})


@pytest.mark.parametrize("name", SAME)
def test_one_beginning_is_one_conversation_in_every_api_and_every_turn(name):
    first = asked(SAME["chat"])
    assert first.startswith("beginning:")
    assert asked(SAME[name]) == first


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": HELLO}]},
        {"messages": [{"role": "user", "content": SYSTEM + HELLO}]},
        {"system": SYSTEM, "messages": [{"role": "user", "content": "Hello?"}]},
        {"system": HELLO, "messages": [{"role": "user", "content": SYSTEM}]},
        {"system": SYSTEM + HELLO, "messages": [{"role": "user", "content": ""}]},
        {"system": SYSTEM, "prompt": HELLO, "images": ["aGk="]},
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2, 4]]},
        {"prompt": ["one", "two"]},
    ],
)
def test_another_beginning_is_another_conversation(body):
    assert asked(body) not in (None, asked(SAME["chat"]))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": "", "input": None},
        {"messages": [{"role": "assistant", "content": "Hi."}]},
        {"input": [{"type": "reasoning", "encrypted_content": "x"}]},
        {"contents": [None, 3]},
    ],
)
def test_without_a_beginning_nothing_is_known(body):
    assert asked(body) is None


def test_pictures_tell_beginnings_apart():
    def picture(data: str) -> str | None:
        url = {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"},
        }
        source = {"type": "image", "source": {"type": "base64", "data": data}}
        chat, messages = ([{"role": "user", "content": [part]}] for part in (url, source))
        assert asked({"messages": chat}) is not None
        return asked({"messages": messages})

    assert picture("aaaa") == picture("aaaa") != picture("bbbb")
    assert asked({"contents": [{"parts": [{"inlineData": {"data": "aa"}}]}]}) != asked(
        {"contents": [{"parts": [{"inlineData": {"data": "bb"}}]}]}
    )


def test_long_texts_are_told_apart_by_both_ends_and_by_their_length():
    middle = "m" * 50_000
    assert len({said(f"a{middle}"), said(f"b{middle}"), said(f"{middle}a"), said(f"{middle}")}) == 4
    assert said(middle) != said(f"{middle}m")
    assert len({said("x", f"a{middle}"), said("y", f"a{middle}"), said("x", f"b{middle}")}) == 3


class TestNames:
    HEADERS = (b"x-claude-code-session-id", b"session_id", b"session-id", b"x-session-affinity")

    @pytest.mark.parametrize("name", HEADERS)
    def test_a_session_in_a_header_counts_more_than_the_beginning(self, name):
        header = (name, b"0199-aa")
        assert asked(SAME["chat"], header) == asked({"prompt": "other"}, header) == "session:0199-aa"
        assert asked(SAME["chat"], (name, b"0199-bb")) == "session:0199-bb"
        assert asked(SAME["chat"], (name, b" ")) == asked(SAME["chat"])

    def test_of_several_the_first_kind_counts(self):
        headers = [(name, str(number).encode()) for number, name in enumerate(self.HEADERS)]
        for number in range(len(headers)):
            assert asked({}, *reversed(headers[number:])) == f"session:{number}"

    def test_a_cache_key_counts_after_a_header(self):
        body = {**SAME["responses"], "prompt_cache_key": "mine"}
        assert asked(body) == asked({"prompt_cache_key": "mine"}) == "key:mine"
        assert asked(body, (b"session_id", b"s")) == "session:s"

    @pytest.mark.parametrize("stored", ["conv_1", {"id": "conv_1"}])
    def test_a_conversation_that_the_provider_stores_counts_most(self, stored):
        body = {"conversation": stored, "prompt_cache_key": "x", "input": "hi"}
        assert asked(body, (b"session_id", b"s")) == "conversation:conv_1"

    @pytest.mark.parametrize("wrong", [None, 3, "", " ", ["x"], {"id": 3}])
    def test_what_is_no_name_does_not_count(self, wrong):
        body = {**SAME["responses"], "prompt_cache_key": wrong, "conversation": wrong}
        assert asked(body) == asked(SAME["chat"])
        assert continued_by({"previous_response_id": wrong}) is None

    def test_a_response_that_is_gone_on_from_is_named(self):
        assert continued_by({"previous_response_id": "resp_1"}) == "resp_1"
        assert continued_by({}) is None


@given(BODIES, st.lists(st.tuples(st.sampled_from(TestNames.HEADERS), st.binary(max_size=3))))
def test_whatever_is_asked_it_is_no_error_and_always_the_same(body, headers):
    assert conversation_of(headers, body) == conversation_of(headers, body)
    continued_by(body)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": "x" * 1_000_000}] * 10_000},
        {"messages": [{"role": "user", "content": [[["x" * 100_000] * 100] * 100] * 100}]},
        {"messages": [{"role": "user", "content": [{"text": "x" * 10_000}] * 100_000}]},
        {"prompt": list(range(1_000_000))},
        {"system": [{str(n): "x" * 5000 for n in range(100_000)}], "prompt": "x" * 10_000_000},
        {"contents": [{"parts": [{"a": {"b": {"c": {"d": {"e": {"f": "x"}}}}}}] * 9999}] * 9999},
    ],
    ids=["systems", "lists in lists", "parts", "tokens", "fields", "deep"],
)
def test_the_work_is_bounded_however_long_the_request_is(body):
    took = []
    for _ in range(20):
        began = time.perf_counter()
        asked(body)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005
