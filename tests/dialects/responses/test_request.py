from __future__ import annotations

import json

import pytest

from tests.dialects.responses.naive import WHO, check, frames
from trio_router.dialects.anthropic import AnthropicDialect
from trio_router.dialects.responses import ResponsesClient
from trio_router.errors import InvalidRequest

RESPONSES = ResponsesClient()
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "one"}
PNG = "data:image/png;base64,iVBORw0KGgo="


def hub(drop=False, **fields):
    body = {"model": "m", "input": "?", **fields}
    before = json.dumps(body)
    made = RESPONSES.chat_request(body, drop_unsupported=drop)
    assert json.dumps(body) == before
    return made


def talk(*items, **fields):
    return hub(input=list(items), **fields)["messages"]


def user(*parts):
    return {"role": "user", "content": list(parts)}


class TestInput:
    def test_a_string_is_the_users_and_instructions_are_the_systems(self):
        assert hub(instructions="be brief")["messages"] == [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "?"},
        ]

    @pytest.mark.parametrize(
        ("part", "told"),
        [
            (
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            ),
            (
                {
                    "type": "input_file",
                    "filename": "a.pdf",
                    "file_data": "data:application/pdf;base64,eA==",
                },
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "a.pdf"},
                },
            ),
            ({"type": "input_file", "file_id": "f"}, {"type": "file", "file": {"file_id": "f"}}),
            (
                {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
            ),
        ],
    )
    def test_parts_are_the_hubs_own(self, part, told):
        said = {"type": "input_text", "text": "look"}
        assert talk(user(said, part)) == [user({"type": "text", "text": "look"}, told)]

    def test_roles(self):
        items = [{"role": r, "content": r} for r in ("developer", "system", "user", "assistant")]
        assert [m["role"] for m in talk(*items)] == ["system", "system", "user", "assistant"]

    def test_what_the_model_said_at_a_stretch_is_one_message(self):
        said = {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "so"}],
        }
        thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]}
        other = {**CALL, "call_id": "d"}
        messages = talk(
            {"role": "user", "content": "?"},
            thought,
            said,
            CALL,
            other,
            OUTPUT,
            {**OUTPUT, "call_id": "d"},
        )
        assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool"]
        assert (messages[1]["content"], messages[1]["reasoning_content"]) == ("so", "hm")
        assert [c["id"] for c in messages[1]["tool_calls"]] == ["c", "d"]
        assert messages[1]["tool_calls"][0] == {
            "id": "c",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":1}'},
        }

    def test_an_output_follows_on_its_call_wherever_it_stands(self):
        messages = talk(CALL, {"role": "user", "content": "wait"}, OUTPUT)
        assert [m["role"] for m in messages] == ["assistant", "tool", "user"]

    def test_what_follows_an_output_is_the_next_message(self):
        messages = talk(CALL, OUTPUT, {**CALL, "call_id": "d"}, {**OUTPUT, "call_id": "d"})
        assert [m["role"] for m in messages] == ["assistant", "tool", "assistant", "tool"]

    def test_an_output_may_be_parts(self):
        image = {"type": "input_image", "image_url": PNG}
        parts = [{"type": "input_text", "text": "a"}, image]
        *_, result = talk(CALL, {**OUTPUT, "output": parts})
        assert result["tool_call_id"] == "c"
        assert [p["type"] for p in result["content"]] == ["text", "image_url"]

    def test_a_custom_tools_call_and_its_output(self):
        made = {"type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"}
        messages = talk(made, {"type": "custom_tool_call_output", "call_id": "c", "output": "x"})
        function = {"name": "sh", "arguments": '{"input":"ls"}'}
        assert messages[0]["tool_calls"] == [{"id": "c", "type": "function", "function": function}]
        assert messages[1] == {"role": "tool", "tool_call_id": "c", "content": "x"}

    def test_a_refusal(self):
        part = {"type": "refusal", "refusal": "no"}
        assert talk({"role": "assistant", "content": [part]}) == [
            {"role": "assistant", "content": [part]}
        ]


def turn(delta):
    """An assistant's turn as a client gets it, with what it sends back next."""
    encoder = RESPONSES.encoder(WHO, {})
    data = encoder.encode({"choices": [{"index": 0, "delta": delta}]}) + encoder.finish()
    return check(frames(data)).response["output"]


class TestSealed:
    def test_signed_thinking_comes_back_to_its_provider(self):
        details = [
            {
                "type": "reasoning.text",
                "text": "hm",
                "signature": "sig",
                "format": "anthropic-claude-v1",
                "index": 0,
            },
            {"type": "reasoning.encrypted", "data": "xx", "format": "anthropic-claude-v1", "index": 1},
        ]
        delta = {
            "reasoning_details": details,
            "content": "so",
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                }
            ],
        }
        items = turn(delta)
        del items[0]["content"]  # as some clients do
        body = hub(input=[{"role": "user", "content": "?"}, *items, OUTPUT])
        assert body["messages"][1]["reasoning_details"] == details
        assert body["messages"][1]["reasoning_content"] == "hm"
        upstream = json.loads(AnthropicDialect().build_request(body, ask_usage=True).body)
        assert upstream["messages"][1]["content"][:2] == [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xx"},
        ]

    def test_a_providers_own_fields_of_a_call_come_back(self):
        extra = {"google": {"thought_signature": "s"}}
        items = turn(
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "c",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": extra,
                    }
                ]
            }
        )
        (message,) = talk(*items)
        assert message["tool_calls"][0]["extra_content"] == extra

    def test_anothers_sealed_reasoning_is_kept_with_its_format(self):
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
        (message,) = talk(item, {"role": "assistant", "content": "a"})
        assert message["reasoning_details"] == [
            {
                "type": "reasoning.encrypted",
                "data": "gAAA",
                "format": "openai-responses-v1",
                "id": "rs_1",
                "index": 0,
            }
        ]

    def test_what_was_changed_is_refused(self):
        with pytest.raises(InvalidRequest) as caught:
            talk({"type": "reasoning", "summary": [], "encrypted_content": "trio1.!!"})
        assert caught.value.param == "input[0].encrypted_content"


class TestFields:
    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"max_output_tokens": 5}, {"max_tokens": 5}),
            ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
            ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
            ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
            (
                {"text": {"format": {"type": "json_object"}}},
                {"response_format": {"type": "json_object"}},
            ),
            (
                {
                    "text": {
                        "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}
                    }
                },
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "n", "schema": {}, "strict": True},
                    }
                },
            ),
            ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
            ({"include": ["reasoning.encrypted_content"]}, {}),
            ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
            ({"user": "u"}, {"user": "u"}),
            ({"safety_identifier": "s"}, {"user": "s"}),
            ({"service_tier": "flex"}, {"service_tier": "flex"}),
            ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
            (
                {
                    "store": True,
                    "metadata": {"a": "b"},
                    "prompt_cache_key": "k",
                    "truncation": "disabled",
                },
                {},
            ),
            ({"previous_response_id": None, "background": False, "conversation": None}, {}),
            ({"top_k": 5}, {"top_k": 5}),  # a server's own
        ],
    )
    def test_fields_get_the_hubs_names(self, given, told):
        made = hub(**given)
        assert {k: v for k, v in made.items() if k not in ("model", "messages")} == told

    def test_tools(self):
        function = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
        custom = {"type": "custom", "name": "sh", "description": "d"}
        made = hub(
            tools=[function, custom],
            tool_choice={"type": "function", "name": "f"},
            parallel_tool_calls=False,
        )
        assert made["tools"] == [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object"}, "strict": True},
            },
            {
                "type": "function",
                "function": {
                    "name": "sh",
                    "description": "d",
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "input": {
                                "type": "string",
                                "description": "The tool's whole input, as plain text.",
                            }
                        },
                        "required": ["input"],
                        "additionalProperties": False,
                    },
                },
            },
        ]
        assert made["tool_choice"] == {"type": "function", "function": {"name": "f"}}
        assert made["parallel_tool_calls"] is False

    def test_allowed_tools_are_all_that_there_are(self):
        tools = [{"type": "function", "name": n} for n in ("f", "g")]
        choice = {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "g"}],
        }
        made = hub(tools=tools, tool_choice=choice)
        assert [t["function"]["name"] for t in made["tools"]] == ["g"]
        assert made["tool_choice"] == "required"

    def test_the_providers_wish_drops_what_it_cannot_do(self):
        tools = [{"type": "web_search"}, {"type": "function", "name": "f"}]
        items = [
            {"type": "web_search_call", "id": "ws", "status": "completed"},
            {"role": "user", "content": "?"},
        ]
        made = hub(drop=True, tools=tools, input=items, truncation="auto")
        assert [t["type"] for t in made["tools"]] == ["function"]
        assert made["messages"] == [{"role": "user", "content": "?"}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": [], "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id"),
        (
            {"input": [user({"type": "input_image", "image_url": "ftp://x"})]},
            "input[0].content[0].image_url",
        ),
        ({"input": [user({"type": "input_file"})]}, "input[0].content[0].file_data"),
        ({"input": [user({"type": "input_audio"})]}, "input[0].content[0].input_audio"),
        ({"input": [OUTPUT]}, "input[0].call_id"),
        ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call"}]}, "input[0].call_id"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
        ({"input": [{"type": {}}]}, "input[0].type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]}, "tools[1].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"reasoning": {"effort": 5}}, "reasoning.effort"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"temperature": True}, "temperature"),
        ({"include": [5]}, "include[0]"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {}}, "response_format"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        hub(**fields)
    assert caught.value.param == param
    assert caught.value.status == 400


def test_a_targets_refusal_is_told_by_this_apis_names():
    error = InvalidRequest("m", param="response_format")
    assert RESPONSES.error_body(error)["error"]["param"] == "text.format"
    assert (
        RESPONSES.error_body(InvalidRequest("m", param="messages[0].content"))["error"]["param"]
        == "input"
    )
