"""What a conversation says reaches every upstream: each word of it, in its order, in any dialect."""

from __future__ import annotations

import base64
import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given, strategies as st

from trio_router.dialects import DIALECTS

PNG = b"\x89PNG\r\n\x1a\n"


@st.composite
def conversations(draw) -> tuple[list[dict[str, Any]], list[str]]:
    """Messages, and the words that they say, in their order; no word is said twice."""
    numbers = count()
    said: list[str] = []

    def word(kind: str) -> str:
        said.append(f"{kind}{next(numbers)}é東👋")
        return said[-1]

    def name() -> str:
        said.append(f"tool{next(numbers)}x")
        return said[-1]

    messages: list[dict[str, Any]] = [{"role": "system", "content": word("system")}]
    for _ in range(draw(st.integers(1, 3))):
        messages.append(_question(draw, word, said, numbers))
        messages.append({"role": "assistant", "content": word("answer")})
        if draw(st.booleans()):
            del messages[-1]
            said.pop()
            messages += _calls(draw, word, name)
    messages.append({"role": "user", "content": word("last")})
    return messages, said


def _question(draw, word, said, numbers) -> dict[str, Any]:
    if not draw(st.booleans()):
        return {"role": "user", "content": word("question")}
    parts: list[dict[str, Any]] = [{"type": "text", "text": word("part")}]
    if draw(st.booleans()):
        data = base64.b64encode(PNG + b"%d" % next(numbers)).decode()
        said.append(data)
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    return {"role": "user", "content": parts}


def _calls(draw, word, name) -> list[dict[str, Any]]:
    calls = []
    for _ in range(draw(st.integers(1, 3))):
        function = {"name": name(), "arguments": json.dumps({"a": word("argument")})}
        calls.append({"id": f"call{function['name'][4:-1]}", "type": "function", "function": function})
    results = [{"role": "tool", "tool_call_id": c["id"], "content": word("result")} for c in calls]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def strings(value: Any) -> str:
    """All that is said anywhere in `value`, JSON within strings too."""
    if isinstance(value, dict):
        return "\n".join(strings(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return "\n".join(map(strings, value))
    if isinstance(value, str) and value[:1] in ("{", "["):
        return strings(json.loads(value))
    return str(value)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@given(data=st.data())
def test_every_word_of_a_conversation_is_said_in_every_dialect(dialect, data):
    messages, said = data.draw(conversations())
    body = {"model": "m", "messages": messages}
    request = DIALECTS[dialect].build_request(body, ask_usage=True)
    text = strings(json.loads(request.body))
    for word in said:
        assert text.count(word) >= 1, word
    in_order = ("question", "part", "answer", "result", "last")
    places = [text.index(word) for word in said if word.startswith(in_order)]
    assert places == sorted(places)
