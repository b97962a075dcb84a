"""Chat requests in the shapes of other APIs, as Cursor sends them to `/v1/chat/completions`."""

from __future__ import annotations

import json

import pytest

from tests.clients.speech import PROVIDERS as ALL, Call, script
from tests.stack import PROVIDERS, events, memory_stack

PATCH = '*** Begin Patch\n+Grüße "x"\\n\n*** End Patch'
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
READ = {"type": "function", "name": "read", "description": "d", "parameters": {"type": "object"}}
EDIT = {"type": "custom", "name": "ApplyPatch", "description": "Edits.", "format": GRAMMAR}
HUB_READ = {
    "type": "function",
    "function": {"name": "read", "description": "d", "parameters": {"type": "object"}},
}
ASK = [{"role": "user", "content": "x"}]


async def sent(body, model="any/echo"):
    """What the upstream is asked for a request, which is answered."""
    async with memory_stack(providers=PROVIDERS) as stack:
        answer = await stack.client.post("/v1/chat/completions", json={"model": model, **body})
        assert answer.status_code == 200, answer.text
        assert answer.json()["object"] == "chat.completion"
        return stack.upstream.requests[-1].json, answer


async def test_a_request_of_the_responses_api_is_answered_as_a_chat(autojump_clock):
    body = {
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Grüße"}]},
            {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "file"},
        ],
        "tools": [READ, {"type": "web_search"}],
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "prompt_cache_retention": "24h",
        "metadata": {"cursor": "1"},
        "user": "u",
    }
    asked, answer = await sent(body)
    assert [m["role"] for m in asked["messages"]] == ["system", "user", "assistant", "tool"]
    assert asked["tools"] == [HUB_READ]
    assert asked["reasoning_effort"] == "high"
    assert not asked.keys() & {"input", "store", "include", "metadata", "prompt_cache_retention"}
    assert answer.headers["x-trio-router-dropped"] == "web_search"


@pytest.mark.parametrize("with_usage", [True, False, None])
async def test_its_stream_is_of_chunks_with_usage_for_who_asked(autojump_clock, with_usage):
    options = {} if with_usage is None else {"stream_options": {"include_usage": with_usage}}
    body = {"model": "any/echo", "input": "Hallo", "stream": True, **options}
    async with memory_stack() as stack:
        answer = await stack.client.post("/v1/chat/completions", json=body)
    *chunks, done = events(answer.content)
    assert done == "[DONE]"
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert bool(chunks[-1].get("usage")) is bool(with_usage)


@pytest.mark.parametrize(
    ("tool", "made"),
    [
        (READ, HUB_READ),
        (HUB_READ, HUB_READ),
        ({"name": "read", "description": "d", "input_schema": {"type": "object"}}, HUB_READ),
    ],
)
async def test_flat_tools_are_understood(autojump_clock, tool, made):
    asked, _ = await sent({"messages": ASK, "tools": [tool, READ]})
    assert asked["tools"] == [made, HUB_READ]


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        ("auto", "auto"),
        ({"type": "function", "name": "read"}, {"type": "function", "function": {"name": "read"}}),
        ({"type": "tool", "name": "read"}, {"type": "function", "function": {"name": "read"}}),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
    ],
)
async def test_a_choice_of_one_is_understood(autojump_clock, choice, made):
    asked, _ = await sent({"messages": ASK, "tools": [READ], "tool_choice": choice})
    assert asked["tool_choice"] == made


async def test_anthropics_blocks_of_calls_and_results_are_understood(autojump_clock):
    use = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "text", "text": "I read."}, use]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "file"},
                {"type": "text", "text": "and?"},
            ],
        },
    ]
    tool = {"name": "read", "input_schema": {"type": "object"}}
    asked, _ = await sent({"messages": messages, "tools": [tool]})
    _, said, result, last = asked["messages"]
    function = {"name": "read", "arguments": '{"path":"a"}'}
    assert said["tool_calls"] == [{"id": "t1", "type": "function", "function": function}]
    assert said["content"] == [{"type": "text", "text": "I read."}]
    assert result == {"role": "tool", "tool_call_id": "t1", "content": "file"}
    assert last == {"role": "user", "content": [{"type": "text", "text": "and?"}]}


async def test_an_empty_content_beside_calls_is_none(autojump_clock):
    call = {"id": "c", "type": "custom", "custom": {"name": "ApplyPatch", "input": PATCH}}
    messages = [
        *ASK,
        {"role": "assistant", "content": [], "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    asked, _ = await sent({"messages": messages, "tools": [EDIT]})
    said = asked["messages"][1]
    assert said["content"] is None
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"input": PATCH}


@pytest.mark.parametrize("body", [{"messages": ASK}, {"input": "x"}])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "ollama"])
async def test_a_free_form_tools_call_is_streamed_as_one(autojump_clock, dialect, body):
    async with memory_stack(providers=ALL.format(url="http://upstream")) as stack:
        stack.upstream.script = script([Call("ApplyPatch", text=PATCH)])
        asked = {"model": f"{dialect}/m", "tools": [EDIT, READ], "stream": True, **body}
        answer = await stack.client.post("/v1/chat/completions", json=asked)
    *chunks, done = events(answer.content)
    assert done == "[DONE]"
    pieces = [p for c in chunks for ch in c["choices"] for p in ch["delta"].get("tool_calls") or ()]
    assert {p["type"] for p in pieces if "type" in p} == {"custom"}
    assert [p["custom"]["name"] for p in pieces if "name" in p["custom"]] == ["ApplyPatch"]
    assert "".join(p["custom"]["input"] for p in pieces) == PATCH
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "tool_calls"


async def test_a_free_form_tools_call_in_a_whole_answer(autojump_clock):
    async with memory_stack(providers=ALL.format(url="http://upstream")) as stack:
        stack.upstream.script = script([Call("ApplyPatch", text=PATCH)])
        asked = {"model": "gemini/m", "tools": [EDIT], "messages": ASK}
        answer = await stack.client.post("/v1/chat/completions", json=asked)
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "ApplyPatch", "input": PATCH})


async def test_a_plain_chats_events_stay_byte_for_byte(autojump_clock):
    async with memory_stack(providers=ALL.format(url="http://upstream")) as stack:
        stack.upstream.script = script([Call("read", {"a": 1})])
        asked = {"model": "openai/m", "tools": [READ], "messages": ASK, "stream": True}
        flat = await stack.client.post("/v1/chat/completions", json=asked)
        plain = await stack.client.post("/v1/chat/completions", json=asked | {"tools": [HUB_READ]})
    assert flat.content == plain.content


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"input": 3}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": "x", "tools": 3}, "tools"),
        ({"input": "x", "model": 3}, "model"),
        ({"messages": [], "tools": [READ]}, "messages"),
        ({"messages": "x", "tools": [READ]}, "messages"),
        ({"messages": [3], "tools": [READ]}, "messages[0]"),
    ],
)
async def test_what_is_wrong_is_named(autojump_clock, body, param):
    async with memory_stack() as stack:
        answer = await stack.client.post("/v1/chat/completions", json={"model": "any/echo", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
