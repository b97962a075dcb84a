"""Tools and structured answers through real clients, streamed by upstreams of each dialect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anthropic
import openai
import pytest
import trio
from pydantic import BaseModel

from tests.clients.sdk import LEFT_GENERATORS, in_thread
from tests.clients.weather import ANSWERS, CALLS, PROVIDERS, QUESTION, TEXT, TOOL, script, weather
from tests.stack import PROVIDERS as DEMO, real_stack

pytestmark = LEFT_GENERATORS

OPENAI = pytest.mark.client("pypi:openai", name="openai (Python)", api="Chat")
ANTHROPIC = pytest.mark.client("pypi:anthropic", name="anthropic (Python)", api="Messages")
DIALECTS = pytest.mark.parametrize("dialect", sorted(ANSWERS))
NODE = Path(__file__).parent / "node"
ASK = [{"role": "user", "content": QUESTION}]


@OPENAI
@pytest.mark.client(shows="tools")
@DIALECTS
async def test_the_openai_sdks_stream_helper_gathers_text_and_parallel_tool_calls(dialect):
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = script
        async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="x", max_retries=0) as client:
            async with client.chat.completions.stream(
                model=f"{dialect}/{dialect}",
                messages=ASK,
                tools=[openai.pydantic_function_tool(weather)],
                stream_options={"include_usage": True},
            ) as stream:
                kinds = {event.type async for event in stream}
                final = await stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == TEXT
    assert [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls] == CALLS
    assert message.tool_calls[0].function.parsed_arguments == weather(**CALLS[0][1])
    assert len({c.id for c in message.tool_calls}) == 2
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage.total_tokens == 18
    assert {"content.delta", "tool_calls.function.arguments.done"} <= kinds


class Answer(BaseModel):
    name: str
    size: int


@OPENAI
@pytest.mark.client(shows="structured output")
@pytest.mark.parametrize("model", ["any/echo", "any/echo-ndjson", "ollama/echo"])
async def test_the_openai_sdk_parses_a_structured_answer(model):
    said = '{"name": "Åse", "size": 3}'
    async with real_stack(providers=DEMO) as stack:
        async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="x", max_retries=0) as client:
            asked = {
                "model": model,
                "messages": [{"role": "user", "content": said}],
                "response_format": Answer,
            }
            whole = await client.chat.completions.parse(**asked)
            async with client.chat.completions.stream(**asked) as stream:
                streamed = await stream.get_final_completion()
    assert whole.choices[0].message.parsed == Answer(name="Åse", size=3)
    assert streamed.choices[0].message.parsed == Answer(name="Åse", size=3)


def anthropic_client(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0)


MESSAGES_TOOL = {"name": "weather", "input_schema": weather.model_json_schema()}


@ANTHROPIC
@pytest.mark.client(shows="tools")
@DIALECTS
async def test_the_anthropic_sdks_stream_helper_gathers_text_and_parallel_tool_calls(dialect):
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = script
        async with anthropic_client(stack.url) as client:
            async with client.messages.stream(
                model=f"{dialect}/{dialect}", max_tokens=99, messages=ASK, tools=[MESSAGES_TOOL]
            ) as stream:
                text = "".join([piece async for piece in stream.text_stream])
                final = await stream.get_final_message()
    assert text == TEXT
    assert final.content[0].text == TEXT
    calls = [block for block in final.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == CALLS
    assert len({call.id for call in calls}) == 2
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (11, 7)


@ANTHROPIC
@pytest.mark.client(shows="text")
@pytest.mark.parametrize("model", ["any/echo", "ollama/echo"])
async def test_the_anthropic_sdk_gets_a_whole_answer(model):
    async with real_stack() as stack, anthropic_client(stack.url) as client:
        message = await client.messages.create(model=model, max_tokens=9, messages=ASK)
    assert message.content[0].text == QUESTION
    assert message.stop_reason == "end_turn"


@ANTHROPIC
@pytest.mark.client(shows="errors")
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("nowhere/x", anthropic.NotFoundError),
        ("any/echo-r429", anthropic.RateLimitError),
        ("any/echo-r400", anthropic.BadRequestError),
        ("any/echo-r500", anthropic.InternalServerError),
    ],
)
async def test_errors_are_the_anthropic_sdks_own_exceptions(model, kind):
    async with real_stack() as stack, anthropic_client(stack.url) as client:
        with pytest.raises(kind) as caught:
            await client.messages.create(model=model, max_tokens=9, messages=ASK)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["message"]


@ANTHROPIC
@pytest.mark.client(shows="errors in the stream")
async def test_an_error_in_the_middle_is_raised_by_the_anthropic_sdk():
    async with real_stack() as stack, anthropic_client(stack.url) as client:
        with pytest.raises(anthropic.APIStatusError):
            async with client.messages.stream(
                model="any/echo-e1-c3", max_tokens=9, messages=ASK
            ) as stream:
                await stream.get_final_message()


@pytest.mark.slow
@pytest.mark.client("pypi:langchain-openai", api="Chat", shows="tools")
@DIALECTS
async def test_langchain_gathers_text_and_parallel_tool_calls(dialect):
    chat_models = pytest.importorskip("langchain_openai")
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = script

        def run():
            model = chat_models.ChatOpenAI(
                model=f"{dialect}/{dialect}", base_url=f"{stack.url}/v1", api_key="x", max_retries=0
            )
            whole = None
            for chunk in model.bind_tools([TOOL]).stream(QUESTION):
                whole = chunk if whole is None else whole + chunk
            return whole

        whole = await in_thread(run)
    assert whole.text == TEXT
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == CALLS
    assert not whole.invalid_tool_calls
    assert whole.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.slow
@pytest.mark.client("npm:openai", name="openai (Node)", api="Chat", shows="tools")
@DIALECTS
async def test_the_openai_package_of_node_gathers_text_and_parallel_tool_calls(dialect):
    if not (NODE / "node_modules" / "openai").is_dir() or shutil.which("node") is None:
        pytest.skip("`npm install --prefix tests/clients/node` has not been run")
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = script
        words = [
            "node",
            NODE / "stream.mjs",
            f"{stack.url}/v1",
            f"{dialect}/{dialect}",
            json.dumps(TOOL),
        ]
        with trio.fail_after(30):
            done = await trio.run_process(words, capture_stdout=True)
    told = json.loads(done.stdout)
    choice = told["final"]["choices"][0]
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    assert told["text"] == TEXT
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == CALLS
    assert choice["finish_reason"] == "tool_calls"
