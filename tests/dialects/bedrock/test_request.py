"""A chat request -> the body of Converse: what each field becomes, and what cannot be said."""

from __future__ import annotations

import base64

import pytest

from trio_router.dialects import DIALECTS
from trio_router.dialects.anthropic import MessagesClient
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import loads

BEDROCK = DIALECTS["bedrock"]
NOVA = "amazon.nova-pro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEWEST = "global.anthropic.claude-opus-4-7-v1"
PNG = base64.b64encode(b"\x89PNG and so on").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()


def body(*messages, model=NOVA, drop=False, **fields):
    asked = {"model": model, "messages": list(messages) or [user("Hi")], **fields}
    return loads(BEDROCK.build_request(asked, ask_usage=True, drop_unsupported=drop).body)


def user(content):
    return {"role": "user", "content": content}


def call(name="look", arguments='{"a": 1}', id_="call_1"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name="look", **fields):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}, **fields}


def test_the_path_has_the_model_and_says_whether_to_stream():
    asked = {"model": CLAUDE, "messages": [user("Hi")]}
    whole = BEDROCK.build_request(asked, ask_usage=True)
    stream = BEDROCK.build_request({**asked, "stream": True}, ask_usage=True)
    path = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
    assert (whole.path, stream.path) == (f"{path}/converse", f"{path}/converse-stream")
    assert whole.body == stream.body


def test_turns_of_one_role_are_one_and_system_prompts_stand_apart():
    told = body(
        {"role": "system", "content": "Be kind"},
        {"role": "developer", "content": "and brief"},
        user("a"),
        user("b"),
        {"role": "assistant", "content": "c"},
        {"role": "system", "content": "now"},
        user("d"),
    )
    assert told["system"] == [{"text": "Be kind"}, {"text": "and brief"}]
    assert told["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {"role": "assistant", "content": [{"text": "c"}]},
        {"role": "user", "content": [{"text": "<system>\nnow\n</system>"}, {"text": "d"}]},
    ]


def test_calls_and_their_results_are_blocks_and_results_come_first():
    told = body(
        user("?"),
        {"role": "assistant", "content": "Let me see", "tool_calls": [call(), call(id_="b c")]},
        user("and"),
        {"role": "tool", "tool_call_id": "b c", "content": "two", "is_error": True},
        tools=[tool()],
    )
    _, assistant, after = told["messages"]
    use = {"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"a": 1}}}
    other = {"toolUse": {"toolUseId": "b_20_c", "name": "look", "input": {"a": 1}}}
    assert assistant["content"] == [{"text": "Let me see"}, use, other]
    result = {"toolUseId": "b_20_c", "content": [{"text": "two"}], "status": "error"}
    assert after["content"] == [{"toolResult": result}, {"text": "and"}]


def test_long_ids_are_shortened_alike_in_a_call_and_its_result():
    long = "x" * 100
    told = body(
        user("?"),
        {"role": "assistant", "tool_calls": [call(id_=long)]},
        {"role": "tool", "tool_call_id": long, "content": "1"},
        tools=[tool()],
    )
    _, assistant, after = told["messages"]
    name = assistant["content"][0]["toolUse"]["toolUseId"]
    assert len(name) <= 64
    assert after["content"][0]["toolResult"]["toolUseId"] == name


@pytest.mark.parametrize(
    ("arguments", "value"),
    [("", {}), (None, {}), ("null", {}), ("[1]", {"INVALID_JSON": "[1]"}), ({"a": 1}, {"a": 1})],
)
def test_a_calls_input_is_always_an_object(arguments, value):
    told = body(user("?"), {"role": "assistant", "tool_calls": [call(arguments=arguments)]})
    assert told["messages"][1]["content"][0]["toolUse"]["input"] == value


def test_tools_that_were_called_are_told_even_if_the_request_has_none():
    told = body(
        user("?"),
        {"role": "assistant", "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    )
    assert [one["toolSpec"]["name"] for one in told["toolConfig"]["tools"]] == ["look"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, None),
        ("auto", None),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "look"}}, {"tool": {"name": "look"}}),
    ],
)
def test_the_choice_of_a_tool(choice, told):
    made = body(tools=[tool()], tool_choice=choice)["toolConfig"]
    assert made.get("toolChoice") == told
    assert made["tools"] == [
        {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
    ]


def test_no_tool_may_be_called_if_none_is_told():
    assert "toolConfig" not in body(tools=[tool()], tool_choice="none")
    asked = [user("?"), {"role": "assistant", "tool_calls": [call()]}]
    with pytest.raises(InvalidRequest, match="cannot be forbidden"):
        body(*asked, tools=[tool()], tool_choice="none")


def test_claude_is_kept_from_calling_tools_in_parallel_and_others_cannot_be():
    told = body(model=CLAUDE, tools=[tool()], parallel_tool_calls=False, tool_choice="required")
    more = {"type": "any", "disable_parallel_tool_use": True}
    assert told["additionalModelRequestFields"]["tool_choice"] == more
    with pytest.raises(InvalidRequest) as raised:
        body(tools=[tool()], parallel_tool_calls=False)
    assert raised.value.param == "parallel_tool_calls"


def test_pictures_and_documents_are_sent_as_they_are():
    told = body(
        user(
            [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}},
                {"type": "image_url", "image_url": {"url": "s3://bucket/a.webp"}},
                {"type": "file", "file": {"filename": "a_b.v2.pdf", "file_data": PDF}},
                {
                    "type": "file",
                    "file": {"filename": "a_b.v2.pdf", "file_data": f"data:text/csv;base64,{PDF}"},
                },
            ]
        )
    )
    assert told["messages"][0]["content"] == [
        {"text": "See"},
        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
        {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a.webp"}}}},
        {"document": {"format": "pdf", "name": "a-b-v2", "source": {"bytes": PDF}}},
        {"document": {"format": "csv", "name": "a-b-v2-pdf", "source": {"bytes": PDF}}},
    ]


def test_no_two_documents_have_one_name():
    part = {"type": "file", "file": {"file_data": PDF}}
    made = body(user([part, part, part]))["messages"][0]["content"]
    names = [block["document"]["name"] for block in made]
    assert names == ["document", "document (2)", "document (3)"]


@pytest.mark.parametrize(
    ("part", "where"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
            "messages[0].content[0].image_url",
        ),
        ({"type": "file", "file": {"file_id": "f"}}, "messages[0].content[0].file"),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/tiff;base64,{PNG}"}},
            "messages[0].content[0].image_url",
        ),
        ({"type": "something"}, "messages[0].content[0].type"),
    ],
)
def test_what_cannot_be_sent_is_named(part, where):
    with pytest.raises(InvalidRequest) as raised:
        body(user([part]))
    assert raised.value.param == where


def test_signed_thinking_goes_back_where_it_came_from():
    signed = {"type": "reasoning.text", "text": "Hm", "signature": "sig"}
    details = [
        {**signed, "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "AAAA", "format": "aws-bedrock-v1"},
        {**signed, "format": "google-gemini-v1"},
        {"type": "reasoning.text", "text": "unsigned"},
    ]
    told = body(
        user("?"), {"role": "assistant", "content": "a", "reasoning_details": details}, user("b")
    )
    assert told["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"text": "a"},
    ]


def test_marks_for_the_cache_are_blocks_behind_what_they_mark():
    mark = {"cache_control": {"type": "ephemeral"}}
    point = {"cachePoint": {"type": "default"}}
    told = body(
        {"role": "system", "content": [{"type": "text", "text": "Long", **mark}]},
        user([{"type": "text", "text": "a", **mark}, {"type": "text", "text": "b"}]),
        tools=[tool(cache_control={"type": "ephemeral", "ttl": "1h"})],
        cache_control={"type": "ephemeral"},
    )
    assert told["system"] == [{"text": "Long"}, point]
    assert told["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}, point]
    assert told["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}


def test_a_mark_on_a_result_stays_behind_it():
    told = body(
        user("?"),
        {"role": "assistant", "tool_calls": [call()]},
        user("and"),
        {"role": "tool", "tool_call_id": "call_1", "content": "1", "cache_control": {"type": "x"}},
    )
    kinds = [next(iter(block)) for block in told["messages"][2]["content"]]
    assert kinds == ["toolResult", "cachePoint", "text"]


def test_settings_have_their_places():
    told = body(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop=["a", "b"],
        service_tier="flex",
        metadata={"team": "x"},
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
        additionalModelRequestFields={"own": 1},
    )
    assert told["inferenceConfig"] == {
        "maxTokens": 9,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["a", "b"],
    }
    assert told["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}, "own": 1}
    assert told["serviceTier"] == {"type": "flex"}
    assert told["requestMetadata"] == {"team": "x"}
    assert told["guardrailConfig"]["guardrailIdentifier"] == "g"
    assert body(model=CLAUDE, top_k=5)["additionalModelRequestFields"] == {"top_k": 5}


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        (NEWEST, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (
            "amazon.nova-2-lite-v1:0",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
        ),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "high"}),
    ],
)
def test_each_family_thinks_in_its_own_words(model, told):
    made = body(model=model, reasoning_effort="high")
    assert made["additionalModelRequestFields"] == told
    if model == NEWEST:
        assert made["outputConfig"] == {"effort": "high"}
    if model in (CLAUDE, NEWEST):
        assert made["inferenceConfig"]["maxTokens"] > 16384  # there is room for an answer behind it


def test_a_budget_leaves_room_for_the_answer():
    more = body(model=CLAUDE, reasoning_effort="high", max_tokens=4000)["additionalModelRequestFields"]
    assert more["thinking"]["budget_tokens"] == 3000
    with pytest.raises(InvalidRequest, match="above 1024"):
        body(model=CLAUDE, reasoning_effort="high", max_tokens=100)


def test_a_schema_is_asked_for_as_text():
    schema = {"type": "object", "properties": {}}
    asked = {"type": "json_schema", "json_schema": {"name": "out", "schema": schema}}
    told = body(response_format=asked)["outputConfig"]["textFormat"]
    assert told["type"] == "json_schema"
    assert loads(told["structure"]["jsonSchema"]["schema"].encode()) == schema


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 1),
        ("logprobs", True),
        ("frequency_penalty", 0.1),
        ("n", 2),
        ("response_format", {"type": "json_object"}),
        ("reasoning_effort", "high"),
        ("service_tier", "fast"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name_or_left_out(field, value):
    asked = {"model": "meta.llama4-scout-17b-instruct-v1:0", field: value}
    with pytest.raises(InvalidRequest) as raised:
        body(**asked)
    assert raised.value.param == field
    assert body(drop=True, **asked)["messages"]


def test_a_messages_request_keeps_the_order_of_its_blocks():
    """Thinking between calls: what the client sends back is what Bedrock has signed."""
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "s1"}
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    blocks = [thinking, use, {**thinking, "signature": "s2"}, {**use, "id": "t2"}]
    results = [{"type": "tool_result", "tool_use_id": i, "content": "1"} for i in ("t1", "t2")]
    asked = {
        "model": CLAUDE,
        "max_tokens": 2048,
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": results},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    told = loads(BEDROCK.build_request(MessagesClient().chat_request(asked), ask_usage=True).body)
    kinds = [next(iter(block)) for block in told["messages"][1]["content"]]
    assert kinds == ["reasoningContent", "toolUse", "reasoningContent", "toolUse"]
    signatures = [
        block["reasoningContent"]["reasoningText"]["signature"]
        for block in told["messages"][1]["content"]
        if "reasoningContent" in block
    ]
    assert signatures == ["s1", "s2"]
    assert told["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 1024
