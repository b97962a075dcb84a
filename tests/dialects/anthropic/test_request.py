from __future__ import annotations

import base64
import json

import pytest

from trio_router.dialects.anthropic import AnthropicDialect
from trio_router.errors import InvalidRequest

ANTHROPIC = AnthropicDialect()
PNG = base64.b64encode(b"\x89PNG").decode()
HI = [{"role": "user", "content": "hi"}]


def built(drop=False, **fields):
    request = {"model": "claude-haiku-4-5", "messages": HI, **fields}
    before = json.dumps(request)
    made = ANTHROPIC.build_request(request, ask_usage=True, drop_unsupported=drop)
    assert json.dumps(request) == before, "the request itself is left alone"
    return json.loads(made.body)


def talk(*messages, **fields):
    return built(messages=list(messages), **fields)["messages"]


def refused(**fields) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        built(**fields)
    return caught.value.param


def user(content):
    return {"role": "user", "content": content}


def call(id_, name="add", arguments="{}"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id_, content="2", **extra):
    return {"role": "tool", "tool_call_id": id_, "content": content, **extra}


def text(said, **extra):
    return {"type": "text", "text": said, **extra}


class TestTransport:
    def test_goes_to_messages_with_the_apis_own_headers(self):
        assert ANTHROPIC.build_request({"messages": HI}, ask_usage=True).path == "/messages"
        assert ANTHROPIC.auth_headers("k") == {"x-api-key": "k"}
        assert ANTHROPIC.headers == {"anthropic-version": "2023-06-01"}

    def test_recognises_its_records_and_no_others(self):
        assert ANTHROPIC.recognises({"type": "ping"})
        assert ANTHROPIC.recognises({"type": "message", "content": []})
        for other in (
            {"type": "message", "choices": []},
            {"type": "message-start"},
            {"type": "response.created"},
            {"type": ["ping"]},
            {"message": {"content": "x"}},
        ):
            assert not ANTHROPIC.recognises(other)


class TestMessages:
    def test_leading_system_messages_are_the_system_prompt(self):
        system = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]
        body = built(messages=[*system, *HI])
        assert body["system"] == [text("a"), text("b")]
        assert built(messages=[system[0], *HI])["system"] == "a"
        assert body["messages"] == [user([text("hi")])]

    def test_a_later_system_message_keeps_its_place_in_the_users_turn(self):
        messages = [user("a"), {"role": "system", "content": "be brief"}]
        assert talk(*messages) == [user([text("a"), text("<system>\nbe brief\n</system>")])]

    def test_a_later_system_message_stays_one_where_the_model_takes_it(self):
        messages = [user("a"), {"role": "system", "content": "b"}]
        told = talk(*messages, model="claude-opus-4-8")
        assert told == [user([text("a")]), {"role": "system", "content": [text("b")]}]
        told = talk(*messages, user("c"), model="claude-opus-4-8")
        assert [m["role"] for m in told] == ["user"], "before a user's turn it may not stand"

    def test_messages_of_one_role_are_one_turn(self):
        told = talk(user("a"), user("b"), {"role": "assistant", "content": "c"}, user("d"))
        assert told == [
            user([text("a"), text("b")]),
            {"role": "assistant", "content": [text("c")]},
            user([text("d")]),
        ]

    def test_text_of_white_space_which_the_api_refuses_is_left_out(self):
        assert talk(user([text(" "), text("a")]), {"role": "assistant", "content": ""}) == [
            user([text("a")])
        ]
        assert talk(*HI, {"role": "assistant", "content": "so \n"})[-1]["content"] == [text("so")]

    def test_images_by_data_and_by_url(self):
        parts = [
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
            },
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            {"type": "image_url", "image_url": f"data:image/jpg;base64,{PNG}"},
        ]
        (told,) = talk(user(parts))
        assert [block["source"] for block in told["content"]] == [
            {"type": "base64", "media_type": "image/png", "data": PNG},
            {"type": "url", "url": "https://x/y.png"},
            {"type": "base64", "media_type": "image/jpeg", "data": PNG},
        ]

    @pytest.mark.parametrize(
        "url",
        [
            "data:text/plain;base64,QUJD",
            "data:image/png;base64,???",
            "data:image/png;base64,",
            "data:image/png,x",
            "data:image/tiff;base64,QUJD",
            "ftp://x/y.png",
            7,
        ],
    )
    def test_images_that_are_none_are_refused(self, url):
        part = {"type": "image_url", "image_url": {"url": url}}
        assert refused(messages=[user([part])]) == "messages[0].content[0].image_url"

    def test_files_are_documents(self):
        def document(**file):
            (told,) = talk(user([{"type": "file", "file": file}]))
            return told["content"][0]

        pdf = {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}
        assert document(file_data="data:application/pdf;base64,QUJD", filename="a.pdf") == {
            "type": "document",
            "source": pdf,
            "title": "a.pdf",
        }
        assert document(file_data="QUJD")["source"] == pdf
        plain = document(file_data="data:text/plain;base64,QUJD")
        assert plain["source"] == {"type": "text", "media_type": "text/plain", "data": "ABC"}
        assert document(file_id="f1")["source"] == {"type": "file", "file_id": "f1"}
        zipped = {"file_data": "data:application/zip;base64,QUJD"}
        assert refused(messages=[user([{"type": "file", "file": zipped}])]).endswith(".file")

    def test_cache_control_is_kept_wherever_it_stands(self):
        mark = {"type": "ephemeral"}
        body = built(
            messages=[
                {"role": "system", "content": [text("s", cache_control=mark)]},
                {**user("a"), "cache_control": mark},
                {"role": "assistant", "tool_calls": [call("c1")]},
                result("c1", cache_control=mark),
            ],
            tools=[{"type": "function", "function": {"name": "add"}, "cache_control": mark}],
        )
        assert body["system"] == [text("s", cache_control=mark)]
        assert body["messages"][0]["content"] == [text("a", cache_control=mark)]
        assert body["messages"][2]["content"][0]["cache_control"] == mark
        assert body["tools"][0]["cache_control"] == mark

    def test_what_only_the_api_has_is_kept_as_it_is(self):
        block = {"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}
        assert talk(user([block])) == [user([block])]

    @pytest.mark.parametrize(
        ("messages", "param"),
        [
            ("x", "messages"),
            ([7], "messages[0]"),
            ([{"role": "king", "content": "x"}], "messages[0].role"),
            ([user(7)], "messages[0].content"),
            ([user([7])], "messages[0].content[0]"),
            ([user([{"type": "img"}])], "messages[0].content[0].type"),
            ([user([{"type": "text", "text": 7}])], "messages[0].content[0].text"),
            ([user([{"type": "input_audio", "input_audio": {}}])], "messages[0].content[0]"),
            ([{**user("x"), "name": "bob"}], "messages[0].name"),
            ([*HI, {"role": "assistant", "tool_calls": [7]}], "messages[1].tool_calls[0].function"),
            (
                [*HI, {"role": "assistant", "tool_calls": [call("c", arguments=[])]}],
                "messages[1].tool_calls[0].function.arguments",
            ),
            ([*HI, result("nowhere")], "messages[1].tool_call_id"),
        ],
    )
    def test_what_is_wrong_is_refused_by_its_place(self, messages, param):
        assert refused(messages=messages) == param


class TestTools:
    def test_calls_and_all_their_results_find_each_other(self):
        assistant = {
            "role": "assistant",
            "content": "wait",
            "tool_calls": [call("c1", arguments='{"a":1}'), call("c2")],
        }
        parts = [text("see"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
        told = talk(*HI, assistant, user("and?"), result("c2", parts, is_error=True), result("c1"))
        assert told[1]["content"] == [
            text("wait"),
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "add", "input": {}},
        ]
        assert told[2]["role"] == "user"
        assert told[2]["content"] == [
            {
                "type": "tool_result",
                "tool_use_id": "c2",
                "content": [
                    text("see"),
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                ],
                "is_error": True,
            },
            {"type": "tool_result", "tool_use_id": "c1", "content": "2"},
            text("and?"),
        ]

    def test_a_result_is_for_the_last_calls_and_for_one_of_them_once(self):
        asked = {"role": "assistant", "tool_calls": [call("c1")]}
        twice = [*HI, asked, result("c1"), result("c1")]
        assert refused(messages=twice) == "messages[3].tool_call_id"
        late = [*HI, asked, result("c1"), {"role": "assistant", "content": "x"}, result("c1")]
        assert refused(messages=late) == "messages[4].tool_call_id"

    def test_ids_that_the_api_would_refuse_are_rewritten_in_both_places(self):
        asked = {"role": "assistant", "tool_calls": [call("functions.add:0"), call("")]}
        told = talk(*HI, asked, result("functions.add:0"), result(""))
        used = [block["id"] for block in told[1]["content"]]
        assert used == [block["tool_use_id"] for block in told[2]["content"]]
        assert len(set(used)) == 2
        assert all(c.isascii() and (c.isalnum() or c in "_-") for id_ in used for c in id_)

    def test_arguments_that_are_no_object_are_shown_to_the_model_all_the_same(self):
        told = talk(*HI, {"role": "assistant", "tool_calls": [call("c", arguments='{"a":')]})
        assert told[1]["content"][0]["input"] == {"INVALID_JSON": '{"a":'}

    def test_definitions(self):
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        function = {"name": "add", "description": "d", "parameters": schema, "strict": True}
        search = {"type": "web_search_20250305", "name": "web_search"}
        tools = [{"type": "function", "function": function}, search]
        assert built(tools=tools)["tools"] == [
            {"name": "add", "description": "d", "input_schema": schema, "strict": True},
            search,
        ]
        bare = built(tools=[{"type": "function", "function": {"name": "f"}}])["tools"]
        assert bare == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
        assert refused(tools=[{"type": "custom", "custom": {"name": "x"}}]) == "tools[0]"
        assert refused(tools=[{"type": "function"}]) == "tools[0].function"

    @pytest.mark.parametrize(
        ("choice", "told"),
        [
            (None, None),
            ("auto", {"type": "auto"}),
            ("none", {"type": "none"}),
            ("required", {"type": "any"}),
            ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ],
    )
    def test_choice(self, choice, told):
        tools = [{"type": "function", "function": {"name": "f"}}]
        assert built(tools=tools, tool_choice=choice).get("tool_choice") == told
        single = built(tools=tools, tool_choice=choice, parallel_tool_calls=False)["tool_choice"]
        if choice != "none":
            assert single == {**(told or {"type": "auto"}), "disable_parallel_tool_use": True}

    def test_a_choice_among_some_is_refused(self):
        tools = [{"type": "function", "function": {"name": "f"}}]
        assert refused(tools=tools, tool_choice={"type": "allowed_tools"}) == "tool_choice"
        assert refused(tools=tools, tool_choice="f") == "tool_choice"


class TestThinking:
    def test_signed_thinking_goes_back_before_what_follows_it(self):
        details = [
            {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"},
            {"type": "reasoning.text", "text": "no", "signature": "g", "format": "google-gemini-v1"},
            {"type": "reasoning.text", "text": "unsigned"},
        ]
        said = {"role": "assistant", "content": "so", "reasoning_content": "hm"}
        told = talk(*HI, {**said, "reasoning_details": details}, *HI)
        assert told[1]["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            text("so"),
        ]

    @pytest.mark.parametrize(
        ("effort", "budget"), [("minimal", 1024), ("low", 1024), ("medium", 4096), ("high", 16384)]
    )
    def test_effort_is_a_budget_with_room_for_the_answer(self, effort, budget):
        body = built(reasoning_effort=effort)
        assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
        assert body["max_tokens"] == budget + 4096

    @pytest.mark.parametrize("limit", [1025, 2000, 20000, 100000])
    def test_a_budget_stays_below_the_limit(self, limit):
        body = built(reasoning_effort="xhigh", max_completion_tokens=limit)
        assert body["max_tokens"] == limit
        assert 1024 <= body["thinking"]["budget_tokens"] < limit

    def test_no_room_to_think_is_refused(self):
        assert refused(reasoning_effort="low", max_tokens=1024) == "reasoning_effort"
        assert "thinking" not in built(drop=True, reasoning_effort="low", max_tokens=1024)

    def test_no_effort_is_no_thinking(self):
        assert built(reasoning_effort="none")["thinking"] == {"type": "disabled"}
        assert "thinking" not in built()
        assert refused(reasoning_effort="huge") == "reasoning_effort"

    @pytest.mark.parametrize(
        ("model", "effort"),
        [
            ("claude-opus-4-6", "high"),
            ("claude-opus-4-7", "xhigh"),
            ("claude-sonnet-5", "xhigh"),
            ("claude-haiku-5-5-20270101", "xhigh"),
        ],
    )
    def test_newer_models_think_by_effort(self, model, effort):
        body = built(model=model, reasoning_effort="xhigh")
        assert body["thinking"]["type"] == "adaptive"
        assert body["thinking"].get("display") == (None if effort == "high" else "summarized")
        assert body["output_config"] == {"effort": effort}

    @pytest.mark.parametrize(
        "model",
        ["claude-opus-4-20250514", "claude-sonnet-4-5-20250929", "claude-3-7-sonnet-latest", "minimax"],
    )
    def test_older_and_unknown_models_think_by_budget(self, model):
        assert built(model=model, reasoning_effort="low")["thinking"]["type"] == "enabled"

    def test_the_apis_own_field_counts_before_effort(self):
        own = {"type": "enabled", "budget_tokens": 2000}
        body = built(thinking=own, reasoning_effort="high", model="claude-opus-4-6")
        assert (body["thinking"], body["max_tokens"]) == (own, 6096)
        assert "output_config" not in body
        assert refused(thinking={"type": "enabled", "budget_tokens": "x"}) == "thinking.budget_tokens"
        assert refused(thinking=True) == "thinking"

    @pytest.mark.parametrize(("name", "value"), [("temperature", 0.5), ("top_k", 5), ("top_p", 0.5)])
    def test_sampling_cannot_be_chosen_while_thinking(self, name, value):
        assert refused(reasoning_effort="low", **{name: value}) == name
        assert name not in built(drop=True, reasoning_effort="low", **{name: value})
        assert built(**{name: value})[name] == value

    def test_no_tool_can_be_forced_while_thinking(self):
        fields = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}
        assert refused(reasoning_effort="low", **fields) == "tool_choice"
        dropped = built(drop=True, reasoning_effort="low", **fields)
        assert dropped["tool_choice"] == {"type": "auto"}


class TestFields:
    def test_plain_ones(self):
        body = built(stream=True, temperature=0, top_p=0.5, top_k=3, stop="END", max_tokens=9, user="u")
        del body["messages"]
        assert body == {
            "model": "claude-haiku-4-5",
            "max_tokens": 9,
            "stream": True,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": 3,
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u"},
        }

    def test_max_tokens_which_the_api_wants_has_a_default(self):
        assert built()["max_tokens"] == 4096
        assert built(max_tokens=None, max_completion_tokens=5)["max_tokens"] == 5

    def test_a_schema_is_the_output_format(self):
        schema = {"type": "object"}
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        config = built(response_format=asked)["output_config"]
        assert config == {"format": {"type": "json_schema", "schema": schema}}
        assert "output_config" not in built(response_format={"type": "text"})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("n", 2),
            ("logprobs", True),
            ("top_logprobs", 2),
            ("seed", 0),
            ("frequency_penalty", 1),
            ("presence_penalty", 1),
            ("logit_bias", {"1": 2}),
            ("audio", {"voice": "x"}),
            ("modalities", ["text", "audio"]),
            ("prediction", {"type": "content"}),
            ("functions", [{}]),
            ("web_search_options", {"x": 1}),
            ("verbosity", "low"),
            ("temperature", 1.5),
            ("response_format", {"type": "json_object"}),
            ("service_tier", "flex"),
            ("metadata", {"k": "v"}),
            ("stop", ["\n"]),
        ],
    )
    def test_what_the_api_cannot_do_is_refused_by_name_or_dropped(self, name, value):
        assert refused(**{name: value}) == name
        assert built(drop=True, **{name: value}) == built()

    def test_what_asks_for_nothing_is_no_matter(self):
        fields = {
            "n": 1,
            "logprobs": False,
            "frequency_penalty": 0,
            "modalities": ["text"],
            "stop": [],
            "seed": None,
            "stream_options": {"include_usage": True},
        }
        assert built(**fields) == built()

    def test_the_apis_own_fields_pass(self):
        own = {
            "container": "c",
            "mcp_servers": [{"type": "url"}],
            "context_management": {"edits": []},
            "output_config": {"effort": "max"},
            "inference_geo": "eu",
        }
        body = built(**own)
        assert {name: body[name] for name in own} == own

    @pytest.mark.parametrize(
        ("tier", "told"), [("auto", "auto"), ("default", "standard_only"), ("standard_only",) * 2]
    )
    def test_service_tiers(self, tier, told):
        assert built(service_tier=tier)["service_tier"] == told
