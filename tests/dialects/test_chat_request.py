"""What a chat request may not say, whoever its target is."""

from __future__ import annotations

import json

import pytest

from trio_router.dialects.chat_request import parse_chat_request
from trio_router.errors import InvalidRequest

PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def parsed(*messages: dict) -> dict:
    body = {"model": "a/b", "messages": [{"role": "user", "content": "?"}, *messages]}
    return parse_chat_request(json.dumps(body).encode())


def image(url: object) -> dict:
    return {"role": "user", "content": [{"type": "image_url", "image_url": url}]}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard", "content": "?"}, "messages[1].role"),
        ({"role": 1, "content": "?"}, "messages[1].role"),
        ({"role": "user", "content": 7}, "messages[1].content"),
        ({"role": "user", "content": ["?"]}, "messages[1].content[0]"),
        ({"role": "user", "content": [{"text": "?"}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text"),
        ({"role": "tool", "content": "2", "tool_call_id": "c1"}, "messages[1].tool_call_id"),
        ({"role": "tool", "content": "2"}, "messages[1].tool_call_id"),
        ({"role": "assistant", "tool_calls": {}}, "messages[1].tool_calls"),
        ({"role": "assistant", "tool_calls": ["c1"]}, "messages[1].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{"id": 1}]}, "messages[1].tool_calls[0].id"),
        (image({"url": "a picture"}), "messages[1].content[0].image_url.url"),
        (image({"url": "data:text/plain;base64,Zm9v"}), "messages[1].content[0].image_url.url"),
        (image({"url": "data:image/png;base64,?!"}), "messages[1].content[0].image_url.url"),
        (image({"url": "data:image/png;base64,"}), "messages[1].content[0].image_url.url"),
        (image({"url": "data:image/png;base64,ÄÖ"}), "messages[1].content[0].image_url.url"),
        (image({"url": None}), "messages[1].content[0].image_url.url"),
        (image(3), "messages[1].content[0].image_url"),
    ],
)
def test_a_message_that_nobody_could_answer_is_refused_by_the_fields_name(message, param):
    with pytest.raises(InvalidRequest) as caught:
        parsed(message)
    assert caught.value.param == param
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "messages",
    [
        [image({"url": PNG, "detail": "low"})],
        [image("https://x/y.png")],
        [{"role": "user", "content": [{"type": "of_a_providers_own", "x": 1}]}],
        [{"role": "developer", "content": "x"}, {"role": "function", "name": "f", "content": "1"}],
        [
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ],
        [{"role": "assistant", "tool_calls": [CALL | {"id": ""}]}, {"role": "tool", "content": "2"}],
        [{"role": "assistant", "content": None, "tool_calls": None}],
    ],
)
def test_what_a_provider_may_know_is_left_to_it(messages):
    assert parsed(*messages)["messages"][1:] == messages
