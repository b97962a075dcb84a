from __future__ import annotations

import json

import pytest

from trio_router.dialects.cohere import CohereDialect
from trio_router.errors import InvalidRequest

COHERE = CohereDialect()
HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "d", "parameters": SCHEMA}}
SUB = {"type": "function", "function": {"name": "sub"}}


def built(drop=False, **fields):
    given = {"model": "command-a", "messages": HI, **fields}
    before = json.dumps(given)
    made = COHERE.build_request(given, ask_usage=True, drop_unsupported=drop)
    assert json.dumps(given) == before, "the request itself is left alone"
    return json.loads(made.body)


def refused(**fields) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        built(**fields)
    return caught.value.param


def call(id_, name="add", arguments="{}"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls, **extra):
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **extra}


def result(id_, content="2"):
    return {"role": "tool", "tool_call_id": id_, "content": content}


def test_goes_to_chat_with_a_bearer_key():
    assert COHERE.build_request({"messages": HI}, ask_usage=True).path == "/chat"
    assert COHERE.auth_headers("k") == {"authorization": "Bearer k"}


def test_recognises_its_records_and_no_others():
    assert COHERE.recognises({"type": "message-start"})
    assert COHERE.recognises({"message": {}, "finish_reason": "COMPLETE"})
    for other in (
        {"type": "message_start"},
        {"type": "message", "message": {}, "finish_reason": "x"},
        {"message": {}, "done": False},
        {"message": {}, "finish_reason": None, "choices": []},
        {"message": "no"},
    ):
        assert not COHERE.recognises(other)


class TestMessages:
    def test_they_stay_what_they_are_but_for_the_developer(self):
        messages = [{"role": "developer", "content": "be brief"}, *HI]
        assert built(messages=messages)["messages"] == [{"role": "system", "content": "be brief"}, *HI]

    def test_calls_and_results_and_the_plan_between_them(self):
        said = calling(call("c1", arguments='{"a":1}'), call("c2"), reasoning_content="I will add.")
        told = built(messages=[*HI, said, result("c2"), result("c1")])["messages"]
        assert told[1] == {
            "role": "assistant",
            "tool_calls": [call("c1", arguments='{"a":1}'), call("c2")],
            "tool_plan": "I will add.",
        }
        assert told[2:] == [result("c2"), result("c1")]

    def test_images_are_for_users_only(self):
        image = {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"},
        }
        text = {"type": "text", "text": "x"}
        content = [text, image]
        assert (
            built(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == content
        )
        told = [*HI, {"role": "assistant", "content": content}]
        assert refused(messages=told) == "messages[1].content[1]"
        assert built(drop=True, messages=told)["messages"][1]["content"] == [text]

    def test_a_refusal_is_what_was_said(self):
        said = {"role": "assistant", "content": None, "refusal": "no"}
        assert built(messages=[*HI, said])["messages"][1] == {"role": "assistant", "content": "no"}

    def test_what_is_wrong_is_named(self):
        assert refused(messages="x") == "messages"
        assert refused(messages=["x"]) == "messages[0]"
        assert refused(messages=[{"role": "king"}]) == "messages[0].role"
        assert refused(messages=[{**HI[0], "name": "bob"}]) == "messages[0].name"
        assert refused(messages=[*HI, result("c")]) == "messages[1].tool_call_id"
        twice = [*HI, calling(call("c")), result("c"), result("c")]
        assert refused(messages=twice) == "messages[3].tool_call_id"
        assert refused(messages=[calling({"id": "c"})]) == "messages[0].tool_calls[0].function"
        assert refused(messages=[calling(call(None))]) == "messages[0].tool_calls[0].id"
        for part, param in (
            ({"type": "input_audio"}, ""),
            ({"type": "file"}, ""),
            ({"type": "video"}, ".type"),
            ({"type": "text"}, ".text"),
            ({"type": "image_url", "image_url": {"url": "data:text/plain;base64,QQ=="}}, ".image_url"),
            ({"type": "image_url", "image_url": {"url": "x"}}, ".image_url"),
        ):
            messages = [{"role": "user", "content": [part]}]
            assert refused(messages=messages) == f"messages[0].content[0]{param}"


class TestFields:
    def test_sampling_fields(self):
        body = built(top_p=0.5, top_k=3, max_completion_tokens=9, stop="END", seed=1, temperature=0)
        assert body == {
            "model": "command-a",
            "messages": HI,
            "stream": False,
            "p": 0.5,
            "k": 3,
            "max_tokens": 9,
            "stop_sequences": ["END"],
            "seed": 1,
            "temperature": 0,
        }

    def test_own_fields_pass(self):
        own = {"documents": ["a"], "safety_mode": "OFF", "citation_options": {"mode": "FAST"}}
        assert built(**own).items() >= own.items()

    @pytest.mark.parametrize(
        ("choice", "told", "names"),
        [
            (None, None, ["add", "sub"]),
            ("auto", None, ["add", "sub"]),
            ("none", "NONE", ["add", "sub"]),
            ("required", "REQUIRED", ["add", "sub"]),
            ({"type": "function", "function": {"name": "sub"}}, "REQUIRED", ["sub"]),
        ],
    )
    def test_tool_choice(self, choice, told, names):
        body = built(tools=[ADD, SUB], tool_choice=choice)
        assert body.get("tool_choice") == told
        assert [tool["function"]["name"] for tool in body["tools"]] == names

    def test_strict_functions_make_all_tools_strict(self):
        assert "strict_tools" not in built(tools=[ADD])
        body = built(tools=[{"type": "function", "function": {**ADD["function"], "strict": True}}])
        assert (body["tools"], body["strict_tools"]) == ([ADD], True)

    def test_response_formats(self):
        json_schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        told = {"type": "json_object", "json_schema": SCHEMA}
        assert built(response_format=json_schema)["response_format"] == told
        assert built(response_format=told)["response_format"] == told
        assert built(response_format={"type": "json_object"})["response_format"] == {
            "type": "json_object"
        }
        assert "response_format" not in built(response_format={"type": "text"})

    def test_reasoning_effort(self):
        assert built(reasoning_effort="none")["thinking"] == {"type": "disabled"}
        assert built(reasoning_effort="low")["thinking"] == {"type": "enabled", "token_budget": 1024}
        own = {"type": "enabled", "token_budget": 7}
        assert built(reasoning_effort="low", thinking=own)["thinking"] == own

    @pytest.mark.parametrize(
        "fields",
        [
            {"n": 2},
            {"logit_bias": {"1": 2}},
            {"logprobs": True},
            {"verbosity": "low"},
            {"modalities": ["audio"]},
            {"what_nobody_knows": 1},
        ],
    )
    def test_what_it_has_no_word_for_is_refused_by_name_or_dropped(self, fields):
        (name,) = fields
        assert refused(**fields) == name
        assert built(drop=True, **fields) == built()

    def test_what_changes_no_answer_is_left_out(self):
        fields = {"user": "u", "metadata": {"a": "b"}, "store": False, "n": 1, "logprobs": False}
        assert built(**fields, stream_options={"include_usage": True}) == built()

    def test_what_is_wrong_is_named(self):
        assert refused(tools="x") == "tools"
        assert refused(tools=["x"]) == "tools[0]"
        assert refused(tools=[{"type": "web_search"}]) == "tools[0]"
        assert refused(tools=[{"type": "function"}]) == "tools[0].function"
        assert refused(tools=[ADD], tool_choice="x") == "tool_choice"
        other = {"type": "function", "function": {"name": "x"}}
        assert refused(tools=[ADD], tool_choice=other) == "tool_choice"
        assert refused(tools=[ADD], parallel_tool_calls=False) == "parallel_tool_calls"
        assert refused(response_format={"type": "xml"}) == "response_format"
        assert refused(reasoning_effort="hard") == "reasoning_effort"
        assert refused(stop=[1]) == "stop"
