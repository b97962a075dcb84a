from __future__ import annotations

import base64
import json

import pytest

from tests.dialects.anthropic.naive import WHO
from trio_router.dialects.anthropic import AnthropicDialect, MessagesClient, for_others
from trio_router.errors import InvalidRequest

MESSAGES = MessagesClient()
PNG = base64.b64encode(b"\x89PNG").decode()
MARK = {"type": "ephemeral"}
HI = {"role": "user", "content": "hi"}


def hub(**fields):
    body = {"model": "m", "max_tokens": 9, "messages": [HI], **fields}
    before = json.dumps(body)
    made = MESSAGES.chat_request(body)
    assert json.dumps(body) == before, "the request itself is left alone"
    return made


def said(*messages):
    return hub(messages=list(messages))["messages"]


def refused(**fields) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        hub(**fields)
    return caught.value.param


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def use(id_, **extra):
    return {"type": "tool_use", "id": id_, "name": "add", "input": {"a": 1}, **extra}


def result(id_, content="2", **extra):
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **extra}


CALL = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


class TestMessages:
    def test_plain_text_is_a_string_which_every_target_takes(self):
        assert said(user(text("hi"))) == [HI]
        assert said(user(text("a"), text("b"))) == [user(text("a"), text("b"))]

    def test_the_system_prompt_comes_first_and_keeps_its_cache_control(self):
        assert hub(system="s")["messages"] == [{"role": "system", "content": "s"}, HI]
        assert hub(system=[text("s")])["messages"][0]["content"] == "s"
        marked = [text("s", cache_control=MARK)]
        assert hub(system=marked)["messages"][0]["content"] == marked

    def test_a_system_message_within_the_conversation_keeps_its_place(self):
        messages = [HI, {"role": "system", "content": [text("brief")]}, assistant(text("a"))]
        assert [m["role"] for m in said(*messages)] == ["user", "system", "assistant"]

    def test_images_are_urls(self):
        inline = {"type": "base64", "media_type": "image/png", "data": PNG}
        (message,) = said(
            user(
                {"type": "image", "source": inline, "cache_control": MARK},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            )
        )
        assert message["content"] == [
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{PNG}"},
                "cache_control": MARK,
            },
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        ]

    def test_documents_are_files(self):
        pdf = {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}
        plain = {"type": "text", "media_type": "text/plain", "data": "ABC"}
        (message,) = said(
            user(
                {"type": "document", "source": pdf, "title": "a.pdf"},
                {"type": "document", "source": plain, "citations": {"enabled": True}},
                {"type": "document", "source": {"type": "file", "file_id": "f"}},
            )
        )
        assert message["content"] == [
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"},
            },
            {
                "type": "file",
                "file": {"file_data": "data:text/plain;base64,QUJD"},
                "citations": {"enabled": True},
            },
            {"type": "file", "file": {"file_id": "f"}},
        ]

    def test_calls_and_results(self):
        parts = [text("see"), {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]
        told = said(
            HI,
            assistant(text("wait"), use("t1"), use("t2", cache_control=MARK)),
            user(text("so"), result("t1", parts, is_error=True), result("t2", cache_control=MARK)),
        )
        assert told[1] == {
            "role": "assistant",
            "content": "wait",
            "tool_calls": [CALL, {**CALL, "id": "t2", "cache_control": MARK}],
        }
        assert told[2:] == [
            {
                "role": "tool",
                "tool_call_id": "t1",
                "content": [
                    text("see"),
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ],
                "is_error": True,
            },
            {"role": "tool", "tool_call_id": "t2", "content": "2", "cache_control": MARK},
            {"role": "user", "content": "so"},
        ]

    def test_a_call_alone_has_no_content(self):
        told = said(HI, assistant(use("t1")), user({"type": "tool_result", "tool_use_id": "t1"}))
        assert told[1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
        assert told[2] == {"role": "tool", "tool_call_id": "t1", "content": ""}

    def test_thinking_is_text_and_signed_details(self):
        told = said(
            HI,
            assistant(
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                text("so"),
            ),
        )
        form = {"format": "anthropic-claude-v1"}
        assert told[1] == {
            "role": "assistant",
            "content": "so",
            "reasoning_content": "hm",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "signature": "s", **form, "index": 0},
                {"type": "reasoning.encrypted", "data": "d", **form, "index": 1},
            ],
        }

    def test_thinking_without_a_signature_is_mere_text(self):
        told = said(HI, assistant({"type": "thinking", "thinking": "hm", "signature": ""}, text("so")))
        assert told[1] == {"role": "assistant", "content": "so", "reasoning_content": "hm"}

    def test_blocks_that_only_the_api_has_are_kept_in_their_order(self):
        served = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
        found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
        told = said(HI, assistant(text("a"), served, found, text("b")))
        assert told[1]["content"] == [text("a"), served, found, text("b")]

    @pytest.mark.parametrize(
        ("messages", "param"),
        [
            ("x", "messages"),
            ([], "messages"),
            ([7], "messages[0]"),
            ([{"role": "king", "content": "x"}], "messages[0].role"),
            ([{"role": ["user"], "content": "x"}], "messages[0].role"),
            ([{"role": "user"}], "messages[0].content"),
            ([user(7)], "messages[0].content[0]"),
            ([user({"type": "img"})], "messages[0].content[0].type"),
            ([user({"type": "text", "text": None})], "messages[0].content[0].text"),
            ([user({"type": "image"})], "messages[0].content[0].source"),
            ([user({"type": "image", "source": {"type": "x"}})], "messages[0].content[0].source.type"),
            (
                [user({"type": "image", "source": {"type": "url", "url": "file:///x"}})],
                "messages[0].content[0].source.url",
            ),
            ([user(result("t1"))], "messages[0].content[0].tool_use_id"),
            ([assistant(use("t1")), user(result("t2"))], "messages[1].content[0].tool_use_id"),
            (
                [assistant(use("t1")), user(result("t1", is_error="no"))],
                "messages[1].content[0].is_error",
            ),
            ([assistant(use("t1")), user(result("t1", 7))], "messages[1].content[0].content"),
            ([assistant(use(""))], "messages[0].content[0].id"),
            ([assistant(use("t1", input="{}"))], "messages[0].content[0].input"),
            ([assistant({"type": "thinking"})], "messages[0].content[0].thinking"),
            (
                [assistant({"type": "thinking", "thinking": "x", "signature": 7})],
                "messages[0].content[0].signature",
            ),
            (
                [assistant({"type": "redacted_thinking", "data": "tool-call-extra:{"})],
                "messages[0].content[0].data",
            ),
        ],
    )
    def test_what_is_wrong_is_refused_by_its_place(self, messages, param):
        assert refused(messages=messages) == param

    @pytest.mark.parametrize(
        ("kind", "data", "field"),
        [
            ("text/html", PNG, "media_type"),
            (None, PNG, "media_type"),
            ("image/png", "not base64!", "data"),
            ("image/png", "", "data"),
            ("image/png", None, "data"),
        ],
    )
    def test_images_that_are_none_are_refused(self, kind, data, field):
        source = {"type": "base64", "media_type": kind, "data": data}
        place = f"messages[0].content[0].source.{field}"
        assert refused(messages=[user({"type": "image", "source": source})]) == place


class TestFields:
    def test_plain_ones(self):
        made = hub(
            temperature=0.5,
            top_p=0.5,
            top_k=3,
            stop_sequences=["END"],
            metadata={"user_id": "u"},
            service_tier="standard_only",
            stream=True,
        )
        assert made == {
            "model": "m",
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.5,
            "top_k": 3,
            "stop": ["END"],
            "user": "u",
            "service_tier": "default",
            "messages": [HI],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        assert hub(stream=False) == hub()

    @pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
    def test_what_must_be_there_is_asked_for(self, name):
        assert refused(**{name: None}) == name

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("model", 7),
            ("model", ""),
            ("max_tokens", "9"),
            ("max_tokens", True),
            ("max_tokens", -1),
            ("stream", "yes"),
            ("temperature", "hot"),
            ("temperature", 1.5),
            ("top_k", 1.5),
            ("stop_sequences", "END"),
            ("system", 7),
            ("tools", {}),
            ("tool_choice", "auto"),
            ("tool_choice", {"type": "some"}),
            ("thinking", True),
            ("metadata", []),
            ("service_tier", 7),
        ],
    )
    def test_wrong_types_are_refused_by_name(self, name, value):
        assert refused(**{name: value}) == name

    @pytest.mark.parametrize("name", ["n", "stop", "stream_options", "reasoning_effort"])
    def test_the_hubs_own_names_are_refused_as_the_api_refuses_them(self, name):
        assert refused(**{name: 1}) == name

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"stop_sequences": [7]}, "stop_sequences[0]"),
            ({"system": [{"type": "image"}]}, "system[0].type"),
            ({"tools": [7]}, "tools[0]"),
            ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
            ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
            ({"tools": [{"type": 7}]}, "tools[0].type"),
            ({"metadata": {"user_id": 7}}, "metadata.user_id"),
            ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
            ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
            ({"thinking": {}}, "thinking.type"),
            ({"output_config": {"effort": "huge"}}, "output_config.effort"),
            ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
            ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
        ],
    )
    def test_wrong_parts_are_refused_by_their_place(self, fields, param):
        assert refused(**fields) == param

    def test_tools_are_functions_and_a_servers_tool_stays_what_it_is(self):
        schema = {"type": "object"}
        own = {"name": "f", "description": "d", "input_schema": schema, "strict": True}
        search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
        made = hub(tools=[{**own, "type": "custom", "cache_control": MARK}, search])["tools"]
        function = {"name": "f", "description": "d", "parameters": schema, "strict": True}
        assert made == [{"type": "function", "function": function, "cache_control": MARK}, search]

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"type": "auto"}, "auto"),
            ({"type": "any"}, "required"),
            ({"type": "none"}, "none"),
            ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ],
    )
    def test_tool_choice(self, given, told):
        assert hub(tool_choice=given)["tool_choice"] == told
        single = hub(tool_choice={**given, "disable_parallel_tool_use": True})
        assert single["parallel_tool_calls"] is False

    @pytest.mark.parametrize(
        ("budget", "effort"),
        [
            (1024, "low"),
            (4095, "low"),
            (4096, "medium"),
            (16384, "high"),
            (31999, "high"),
            (32768, "xhigh"),
        ],
    )
    def test_a_thinking_budget_is_an_effort_too(self, budget, effort):
        thinking = {"type": "enabled", "budget_tokens": budget}
        made = hub(thinking=thinking)
        assert (made["thinking"], made["reasoning_effort"]) == (thinking, effort)

    def test_other_ways_of_thinking(self):
        assert hub(thinking={"type": "disabled"})["reasoning_effort"] == "none"
        adaptive = hub(thinking={"type": "adaptive"}, output_config={"effort": "medium"})
        assert adaptive["reasoning_effort"] == "medium"
        assert "reasoning_effort" not in hub(thinking={"type": "adaptive"})

    def test_structured_output_under_both_its_names(self):
        schema = {"type": "object"}
        format_ = {"type": "json_schema", "schema": schema}
        for fields in ({"output_format": format_}, {"output_config": {"format": format_}}):
            asked = hub(**fields)["response_format"]
            assert asked["type"] == "json_schema"
            assert asked["json_schema"]["schema"] == schema
            assert "output_config" not in hub(**fields)

    def test_the_apis_own_fields_keep_their_names(self):
        own = {
            "container": "c",
            "mcp_servers": [{}],
            "context_management": {"edits": []},
            "cache_control": MARK,
            "output_config": {"effort": "max"},
        }
        made = hub(**own)
        assert {name: made[name] for name in own} == own
        assert made["reasoning_effort"] == "xhigh"


def test_another_providers_signature_of_a_call_survives_a_turn_with_a_messages_client():
    call = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    details = [{"type": "reasoning.text", "text": "t", "signature": "x", "format": "google-gemini-v1"}]
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_details": details,
        "tool_calls": [call],
    }
    completion = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    answer = MESSAGES.answer(completion, WHO, {})
    again = said(HI, {"role": "assistant", "content": answer["content"]}, user(result("t1")))[1]
    assert again["tool_calls"] == [call]
    assert again["reasoning_details"] == [{**details[0], "index": 0}]
    request = {"model": "claude", "messages": [HI, again, {"role": "tool", "tool_call_id": "t1"}]}
    told = json.loads(AnthropicDialect().build_request(request, ask_usage=True).body)
    assert [b["type"] for b in told["messages"][1]["content"]] == ["tool_use"]


def test_other_targets_get_nothing_that_only_the_api_understands():
    """As Claude Code asks: what is left is OpenAI's own, and says the same."""
    tool = {"name": "add", "input_schema": {"type": "object"}, "cache_control": MARK}
    made = hub(
        system=[text("s", cache_control=MARK)],
        messages=[
            user(text("a", cache_control=MARK)),
            assistant(use("t1", cache_control=MARK, caller={"type": "direct"}), text("b")),
            user(result("t1", is_error=True, cache_control=MARK)),
            assistant(use("t2")),
            user(result("t2", [text("no"), text("disk")], is_error=True)),
            assistant(use("t3")),
            user(result("t3", "Error: no net", is_error=True)),
        ],
        tools=[tool],
        thinking={"type": "enabled", "budget_tokens": 4096},
        output_config={"effort": "max"},
        context_management={"edits": []},
        cache_control=MARK,
        metadata={"user_id": "u" * 65},
    )
    before = json.dumps(made)
    assert for_others(made) == {
        "model": "m",
        "max_tokens": 9,
        "reasoning_effort": "medium",
        "messages": [
            {"role": "system", "content": [text("s")]},
            {"role": "user", "content": [text("a")]},
            {"role": "assistant", "content": [text("b")], "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "t1", "content": "Error: 2"},
            {"role": "assistant", "content": None, "tool_calls": [CALL | {"id": "t2"}]},
            {
                "role": "tool",
                "tool_call_id": "t2",
                "content": [text("Error:"), text("no"), text("disk")],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL | {"id": "t3"}]},
            {"role": "tool", "tool_call_id": "t3", "content": "Error: no net"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
    }
    assert json.dumps(made) == before
    served = hub(mcp_servers=[{}], container="c", top_k=3)
    assert for_others(served) == served
