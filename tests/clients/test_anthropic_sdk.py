"""The `anthropic` SDKs of Python and Node, to upstreams of each dialect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anthropic
import pytest
import trio

from tests.clients.saying import DIALECTS, PROVIDERS, SIGNATURE, Say, said
from tests.clients.sdk import LEFT_GENERATORS
from tests.stack import real_stack
from trio_router.demo.answers import json_answer

NODE = Path(__file__).parent / "node"
TEXT = "Schauen wir nach: 東京 👋🏽, and then some."
THINKING = "Let me think about that for a while."
CALLS = (("weather", {"city": "東京", "days": 2}), ("weather", {"city": "Zürich", "days": 1}))
TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ASK = {"role": "user", "content": "Wie wird das Wetter?"}
THINK = {"type": "enabled", "budget_tokens": 2048}
TURNS = 50
KEEPS_SIGNATURES = ("anthropic", "gemini")

PYTHON = pytest.mark.client("pypi:anthropic", name="anthropic (Python)", api="Messages")
pytestmark = [*LEFT_GENERATORS, pytest.mark.parametrize("dialect", DIALECTS)]


def client_of(stack) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=stack.url, api_key="x", max_retries=0)


def answering(dialect: str, *answers: Say):
    waiting = list(answers)
    return lambda _: said(dialect, waiting.pop(0) if len(waiting) > 1 else waiting[0])


def asking(dialect: str, messages: list, **more) -> dict:
    return {
        "model": f"{dialect}/{'gemini-3-pro' if dialect == 'gemini' else 'm'}",
        "max_tokens": 9000,
        "messages": messages,
        "tools": [TOOL],
        **more,
    }


@PYTHON
@pytest.mark.client(shows="streaming, thinking, tools")
async def test_it_gathers_thoughts_text_and_calls(dialect):
    async with real_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.upstream.script = answering(dialect, Say(TEXT, THINKING, CALLS))
        async with client.messages.stream(**asking(dialect, [ASK], thinking=THINK)) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_message()
    by_type = {block.type: block for block in final.content}
    assert by_type["text"].text == TEXT
    assert by_type["thinking"].thinking == THINKING
    calls = [(block.name, block.input) for block in final.content if block.type == "tool_use"]
    assert calls == list(CALLS)
    assert final.stop_reason == "tool_use"
    assert kinds.count("text") > 3
    assert kinds.count("thinking") > 3


@PYTHON
@pytest.mark.slow
@pytest.mark.client(shows="long conversations")
async def test_a_conversation_of_many_turns_stays_whole(dialect):
    async with real_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.upstream.script = answering(dialect, Say(TEXT, THINKING, CALLS))
        messages: list = [ASK]
        for number in range(TURNS):
            async with client.messages.stream(**asking(dialect, messages, thinking=THINK)) as stream:
                message = await stream.get_final_message()
            messages.append({"role": "assistant", "content": message.to_dict()["content"]})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": f"{number}: sunny"}
                for block in message.content
                if block.type == "tool_use"
            ]
            assert len(results) == len(CALLS)
            messages.append({"role": "user", "content": results})
        last = stack.upstream.requests[-1]
    told = json.dumps(last.json, ensure_ascii=False)
    assert len(stack.upstream.requests) == TURNS
    assert all(f"{number}: sunny" in told for number in range(TURNS - 1))
    if dialect == "anthropic":
        assert last.json["messages"] == messages[:-2]  # as the client sent it, byte for byte its JSON
    signatures = told.count(SIGNATURE)
    expected = {"anthropic": 1, "gemini": len(CALLS)}.get(dialect, 0) * (TURNS - 1)
    assert signatures == expected


@PYTHON
@pytest.mark.client(shows="errors in the stream")
async def test_an_error_in_the_stream_is_raised(dialect):
    async with real_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.upstream.script = answering(dialect, Say(TEXT, then="error"))
        with pytest.raises(anthropic.APIStatusError, match="the upstream broke"):
            async with client.messages.stream(**asking(dialect, [ASK])) as stream:
                await stream.get_final_message()


@PYTHON
@pytest.mark.client(shows="leaving")
async def test_leaving_releases_the_upstream(dialect):
    async with real_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.upstream.script = answering(dialect, Say(TEXT, then="hang"))
        async with client.messages.stream(**asking(dialect, [ASK])) as stream:
            async for event in stream:
                if event.type == "text":
                    break
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()


@PYTHON
@pytest.mark.client(shows="counting tokens")
async def test_tokens_are_counted(dialect):
    counts = {"anthropic": {"input_tokens": 31}, "gemini": {"totalTokens": 31}, "openai": {"count": 31}}
    async with real_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.upstream.script = lambda _: json_answer(counts.get(dialect, {}))
        asked = {"messages": [ASK], "tools": [TOOL], "model": f"{dialect}/m"}
        raw = await client.messages.with_raw_response.count_tokens(**asked)
        counted = await raw.parse()
    if dialect == "ollama":
        assert raw.headers["x-trio-router-estimated"] == "true"
        assert counted.input_tokens > 5
    else:
        assert counted.input_tokens == 31


@pytest.mark.slow
@pytest.mark.client(
    "npm:@anthropic-ai/sdk",
    name="anthropic (Node)",
    api="Messages",
    shows="streaming, thinking, tools, counting tokens",
)
async def test_the_sdk_of_node_gathers_thoughts_text_and_calls(dialect):
    if not (NODE / "node_modules" / "@anthropic-ai" / "sdk").is_dir() or shutil.which("node") is None:
        pytest.skip("`npm install --prefix tests/clients/node` has not been run")
    async with real_stack(providers=PROVIDERS) as stack:

        def script(request):
            if request.path.endswith(("count_tokens", ":countTokens", "/tokenize")):
                return json_answer({"input_tokens": 31, "totalTokens": 31, "count": 31})
            return said(dialect, Say(TEXT, THINKING, CALLS))

        stack.upstream.script = script
        words = ["node", NODE / "anthropic.mjs", stack.url, f"{dialect}/m", json.dumps(TOOL)]
        with trio.fail_after(60):
            done = await trio.run_process(words, capture_stdout=True)
    told = json.loads(done.stdout)
    blocks = told["final"]["content"]
    assert "".join(told["pieces"]["text"]) == TEXT
    assert "".join(told["pieces"]["thinking"]) == THINKING
    assert [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"] == list(CALLS)
    assert told["final"]["stop_reason"] == "tool_use"
    assert told["counted"]["input_tokens"] > 5
