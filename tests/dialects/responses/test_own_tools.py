"""Tools that only the Responses API has: namespaces, free-form tools, and those its own server runs."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, strategies as st

from tests.dialects.responses.naive import WHO, check, frames
from trio_router.dialects.freeform import FreeForm
from trio_router.dialects.responses import ResponsesClient
from trio_router.dialects.responses.names import flat, names_of
from trio_router.errors import InvalidRequest

RESPONSES = ResponsesClient()
SPAWN = {"type": "function", "name": "spawn", "parameters": {"type": "object", "properties": {}}}
AGENTS = {"type": "namespace", "name": "agents", "description": "d", "tools": [SPAWN]}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch"'}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": GRAMMAR}
SEARCH = {"type": "web_search", "external_web_access": True}
CODEX = [(b"originator", b"codex_exec")]


def asked(*items, **fields):
    return {"model": "m", "input": [{"role": "user", "content": "x"}, *items], **fields}


def functions(chat):
    return [tool["function"]["name"] for tool in chat.get("tools", ())]


def answered(body, *pieces, name):
    """The events for a call whose arguments come in pieces."""
    encoder = RESPONSES.encoder(WHO, body)
    first = {"index": 0, "id": "c", "type": "function", "function": {"name": name, "arguments": ""}}
    deltas = [first, *({"index": 0, "function": {"arguments": piece}} for piece in pieces)]
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [d]}}]} for d in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    data = b"".join(map(encoder.encode, chunks)) + encoder.finish()
    check(frames(data))
    return frames(data)


class TestNamespaces:
    def test_their_functions_are_flat_for_others(self):
        chat = RESPONSES.chat_request(asked(tools=[AGENTS]))
        assert functions(chat) == ["agents__spawn"]
        assert chat["tools"][0]["function"]["parameters"] == SPAWN["parameters"]

    def test_a_call_gets_its_own_name_back(self):
        events = answered(asked(tools=[AGENTS]), "{}", name="agents__spawn")
        item = events[-1]["response"]["output"][0]
        assert (item["type"], item["name"], item["namespace"]) == ("function_call", "spawn", "agents")
        added = next(e for e in events if e["type"] == "response.output_item.added")
        assert added["item"]["namespace"] == "agents"

    def test_a_call_without_a_namespace_says_none(self):
        item = answered(asked(tools=[SPAWN]), "{}", name="spawn")[-1]["response"]["output"][0]
        assert "namespace" not in item

    def test_a_past_call_has_the_name_that_its_tool_has(self):
        call = {"type": "function_call", "call_id": "c", "name": "spawn", "namespace": "agents"}
        output = {"type": "function_call_output", "call_id": "c", "output": "done"}
        chat = RESPONSES.chat_request(asked(call | {"arguments": "{}"}, output, tools=[AGENTS]))
        assert chat["messages"][1]["tool_calls"][0]["function"]["name"] == "agents__spawn"

    def test_a_choice_of_one_names_it_flatly(self):
        choice = {"type": "function", "name": "spawn", "namespace": "agents"}
        chat = RESPONSES.chat_request(asked(tools=[AGENTS], tool_choice=choice))
        assert chat["tool_choice"]["function"]["name"] == "agents__spawn"
        allowed = {"type": "allowed_tools", "mode": "auto", "tools": [choice]}
        chat = RESPONSES.chat_request(asked(tools=[AGENTS, PATCH], tool_choice=allowed))
        assert functions(chat) == ["agents__spawn"]

    @pytest.mark.parametrize(
        ("namespace", "name", "made"),
        [
            ("", "f", "f"),
            (None, "f", "f"),
            ("mcp__docs__", "read", "mcp__docs__read"),
            ("mcp.my docs", "read", "mcp_my_docs__read"),
        ],
    )
    def test_names_are_what_every_provider_takes(self, namespace, name, made):
        assert flat(name, namespace) == made

    def test_long_names_are_cut_and_stay_apart(self):
        one, other = (flat("x" * 60 + end, "namespace") for end in "ab")
        assert len(one) == len(other) == 64
        assert one != other
        assert names_of({"tools": [AGENTS | {"name": "n" * 80}]})

    @pytest.mark.parametrize(
        ("tool", "place"),
        [
            ({"type": "namespace", "name": "n"}, "tools[0].tools"),
            ({"type": "namespace", "name": "", "tools": []}, "tools[0].name"),
            ({"type": "namespace", "name": "n", "tools": [3]}, "tools[0].tools[0]"),
            ({"type": "namespace", "name": "n", "tools": [AGENTS]}, "tools[0].tools[0].type"),
            (
                {"type": "namespace", "name": "n", "tools": [{"type": "function"}]},
                "tools[0].tools[0].name",
            ),
        ],
    )
    def test_what_is_wrong_in_one_is_named(self, tool, place):
        with pytest.raises(InvalidRequest) as caught:
            RESPONSES.chat_request(asked(tools=[tool]))
        assert caught.value.param == place


class TestFreeFormTools:
    def test_one_is_a_function_of_one_text_that_knows_the_grammar(self):
        (tool,) = RESPONSES.chat_request(asked(tools=[PATCH]))["tools"]
        function = tool["function"]
        assert tool["type"] == "function"
        assert function["name"] == "apply_patch"
        assert function["description"].startswith("Edits files.")
        assert GRAMMAR["definition"] in function["description"]
        assert function["parameters"]["required"] == ["input"]

    def test_a_call_streams_its_text_and_is_a_custom_call(self):
        pieces = ['{"inp', 'ut": "*** Be', "gin\\", "nPatch \\ud83d", '\\ude00"', "}"]
        events = answered(asked(tools=[PATCH]), *pieces, name="apply_patch")
        deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
        assert len(deltas) > 2
        assert "".join(deltas) == "*** Begin\nPatch \U0001f600"
        item = events[-1]["response"]["output"][0]
        assert item["type"] == "custom_tool_call"
        assert (item["call_id"], item["name"], item["input"]) == ("c", "apply_patch", "".join(deltas))

    def test_a_whole_answer_says_the_same(self):
        call = {"id": "c", "function": {"name": "apply_patch", "arguments": '{"input": "a\\nb"}'}}
        choice = {"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
        response = RESPONSES.answer({"choices": [choice]}, WHO, asked(tools=[PATCH]))
        assert response["output"][0]["input"] == "a\nb"

    @given(st.text(), st.booleans(), st.lists(st.integers(0, 200), max_size=6))
    def test_any_text_comes_out_whatever_the_cuts(self, text, ascii_only, cuts):
        text = text.encode("utf-8", "replace").decode()
        told = json.dumps({"input": text}, ensure_ascii=ascii_only)
        places = sorted({0, len(told), *(c for c in cuts if c < len(told))})
        form = FreeForm()
        made = [form.take(told[a:b]) for a, b in itertools.pairwise(places)]
        assert "".join(made) + form.end() == text

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ("{}", ""),
            ("", ""),
            ('{"patch": "a\\nb"}', "a\nb"),
            ('{"why": "x", "input": "a"}', "a"),
            ('"a"', "a"),
            ("*** Begin Patch", "*** Begin Patch"),
            ('{"input": 3}', '{"input": 3}'),
            ('{"a": "1", "b": "2"}', '{"a": "1", "b": "2"}'),
            ('{"input": "a\nb"}', "a\nb"),
            ('{"input": "\\ud83d"}', "\ufffd"),
            ('{"input": "\\q"}', "\\q"),
        ],
    )
    def test_arguments_of_other_forms_give_what_they_hold(self, arguments, text):
        for size in (1, 7, 999):
            form = FreeForm()
            pieces = [arguments[i : i + size] for i in range(0, len(arguments), size)]
            assert "".join(map(form.take, pieces)) + form.end() == text


class TestAgents:
    @pytest.mark.parametrize(
        ("headers", "is_agent"),
        [
            (CODEX, True),
            ([(b"user-agent", b"codex_cli_rs/0.169.0 (Debian)")], True),
            ([(b"originator", b"Codex Desktop")], True),
            ([(b"user-agent", b"OpenAI/Python 2.0")], False),
            ([(b"x-note", b"codex")], False),
            ([], False),
        ],
    )
    def test_codex_is_known_by_its_headers(self, headers, is_agent):
        assert RESPONSES.is_agent(headers) is is_agent

    def test_its_built_in_tools_are_left_out_and_told(self):
        body = asked(tools=[SEARCH, PATCH, {"type": "local_shell"}, {"type": "\x00secret \u20ac"}])
        chat, left_out = RESPONSES.agents_request(body)
        assert functions(chat) == ["apply_patch"]
        assert left_out == ["web_search", "local_shell", "other"]

    def test_items_of_such_tools_are_left_out_with_their_outputs(self):
        items = [
            {"type": "web_search_call", "id": "ws", "status": "completed"},
            {"type": "local_shell_call", "call_id": "c", "action": {}},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ]
        chat, _ = RESPONSES.agents_request(asked(*items, tools=[SEARCH]))
        assert [m["role"] for m in chat["messages"]] == ["user"]

    def test_for_everyone_else_they_are_refused(self):
        with pytest.raises(InvalidRequest, match="web_search"):
            RESPONSES.chat_request(asked(tools=[SEARCH]))

    def test_other_fields_are_refused_for_agents_too(self):
        with pytest.raises(InvalidRequest) as caught:
            RESPONSES.agents_request(asked(moderation={"x": 1}, tools=[SEARCH]))
        assert caught.value.param == "moderation"

    def test_what_an_agent_notes_for_itself_goes_to_no_other_api(self):
        body = asked(
            client_metadata={"installation": "1"},
            prompt_cache_key="k",
            include=["reasoning.encrypted_content"],
            store=False,
            reasoning={"summary": "auto"},
            service_tier="priority",
            text={"verbosity": "low"},
        )
        chat, left_out = RESPONSES.agents_request(body)
        assert chat.keys() == {"model", "messages"}
        assert left_out == ["text.verbosity", "service_tier"]


LOOK = {
    "type": "tool_search",
    "execution": "client",
    "description": "d",
    "parameters": {"type": "object"},
}


class TestToolsInTheInput:
    def test_tools_that_an_item_brings_are_the_requests(self):
        brought = {"type": "additional_tools", "role": "developer", "tools": [AGENTS, PATCH, SPAWN]}
        chat = RESPONSES.chat_request(asked(brought, brought))
        assert functions(chat) == ["agents__spawn", "apply_patch", "spawn"]
        assert [m["role"] for m in chat["messages"]] == ["user"]
        item = answered(asked(brought), '{"input": "a"}', name="apply_patch")[-1]["response"]["output"][
            0
        ]
        assert item["type"] == "custom_tool_call"

    def test_what_is_wrong_there_is_named(self):
        brought = {"type": "additional_tools", "tools": [{"type": "function"}]}
        with pytest.raises(InvalidRequest) as caught:
            RESPONSES.chat_request(asked(brought))
        assert caught.value.param == "input[1].tools[0].name"

    def test_the_clients_search_for_tools_is_a_function_and_is_named_back(self):
        chat, left_out = RESPONSES.agents_request(asked(tools=[LOOK]))
        assert functions(chat) == ["tool_search"]
        assert left_out == []
        events = answered(asked(tools=[LOOK]), '{"que', 'ry": "docs"}', name="tool_search")
        assert [e["type"] for e in events[2:]] == [
            "response.output_item.added",
            "response.output_item.done",
            "response.completed",
        ]
        (item,) = events[-1]["response"]["output"]
        assert (item["type"], item["execution"]) == ("tool_search_call", "client")
        assert item["arguments"] == {"query": "docs"}

    def test_what_it_found_can_be_called(self):
        call = {"type": "tool_search_call", "call_id": "c", "execution": "client"}
        found = {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [AGENTS]}
        chat = RESPONSES.chat_request(asked(call | {"arguments": {"query": "q"}}, found, tools=[LOOK]))
        assert functions(chat) == ["tool_search", "agents__spawn"]
        _, said, result = chat["messages"]
        assert said["tool_calls"][0]["function"] == {
            "name": "tool_search",
            "arguments": '{"query":"q"}',
        }
        assert "agents__spawn" in result["content"]

    def test_the_servers_search_is_not_there(self):
        with pytest.raises(InvalidRequest, match="tool_search"):
            RESPONSES.chat_request(asked(tools=[{"type": "tool_search"}]))
        item = {"type": "tool_search_call", "arguments": {}}
        assert len(RESPONSES.agents_request(asked(item))[0]["messages"]) == 1
