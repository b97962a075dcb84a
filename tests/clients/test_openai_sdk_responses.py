"""The `openai` SDK's other APIs, Responses and text completions, against the running router."""

from __future__ import annotations

import json

import openai
import pytest
from pydantic import BaseModel

from tests.chunks import SSE
from tests.clients.sdk import LEFT_GENERATORS, async_client, in_thread, sync_client
from tests.stack import real_stack
from trio_router.demo import Answer, json_answer, sse

pytestmark = [
    *LEFT_GENERATORS,
    pytest.mark.client("pypi:openai", name="openai (Python)", api="Responses"),
]

TEXT = "Привет, 世界 👋🏽"
MODELS = ["any/echo", "ollama/echo", "any/echo-ndjson"]
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


def call(index: int, arguments: str, call_id: str | None = None) -> dict:
    function = {"arguments": arguments} | ({"name": "weather"} if call_id else {})
    piece = {"index": index, "function": function} | ({"id": call_id} if call_id else {})
    return {"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}


def finish(reason: str) -> dict:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage}


@pytest.mark.client(shows="streaming")
@pytest.mark.parametrize("model", MODELS)
async def test_a_response_whole_and_streamed(model):
    async with real_stack() as stack, async_client(stack) as client:
        whole = await client.responses.create(model=model, input=TEXT)
        stream = await client.responses.create(model=model, input=TEXT, stream=True)
        events = [event async for event in stream]
    assert whole.output_text == TEXT
    assert whole.status == "completed"
    assert whole.usage.total_tokens > 0
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == TEXT
    assert events[-1].response.output_text == TEXT
    assert [e.sequence_number for e in events] == list(range(len(events)))


@pytest.mark.client(shows="text")
async def test_a_sync_client_reads_a_response():
    async with real_stack() as stack:

        def run() -> str:
            with sync_client(stack) as client:
                return client.responses.create(model="deepseek/chat", input=TEXT).output_text

        assert await in_thread(run) == TEXT


@pytest.mark.client(shows="tools")
async def test_the_stream_helper_gathers_parallel_calls_and_their_outputs_go_back():
    async with real_stack() as stack, async_client(stack) as client:
        mixed = [
            call(0, "", "c0"),
            call(1, '{"city"', "c1"),
            call(0, '{"city":"Oslo"}'),
            call(1, ':"Rome"}'),
        ]
        stack.upstream.script = lambda _: Answer(
            headers=SSE, steps=[*sse({"choices": [], "model": "m"}, *mixed, finish("tool_calls"))]
        )
        asked = {"role": "user", "content": "?"}
        async with client.responses.stream(model="any/m", input=[asked], tools=[WEATHER]) as stream:
            events = [event async for event in stream]
            response = await stream.get_final_response()
        assert [e.arguments for e in events if e.type.endswith("arguments.done")] == [
            '{"city":"Oslo"}',
            '{"city":"Rome"}',
        ]
        assert [(o.type, o.call_id, json.loads(o.arguments)["city"]) for o in response.output] == [
            ("function_call", "c0", "Oslo"),
            ("function_call", "c1", "Rome"),
        ]
        stack.upstream.script = None
        outputs = [
            {"type": "function_call_output", "call_id": o.call_id, "output": "warm"}
            for o in response.output
        ]
        again = await client.responses.create(
            model="any/echo", input=[asked, *response.output, *outputs], tools=[WEATHER]
        )
    assert again.output_text == "?"
    sent = stack.upstream.requests[-1].json["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]


@pytest.mark.client(shows="structured output")
async def test_parse_gives_the_clients_own_model():
    class Place(BaseModel):
        city: str

    async with real_stack() as stack, async_client(stack) as client:
        message = {"role": "assistant", "content": '{"city":"Oslo"}'}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        stack.upstream.script = lambda _: json_answer({"choices": [choice], "model": "m"})
        parsed = await client.responses.parse(model="any/m", input="?", text_format=Place)
    assert parsed.output_parsed == Place(city="Oslo")
    asked = stack.upstream.requests[-1].json["response_format"]
    assert asked["json_schema"]["schema"]["required"] == ["city"]


@pytest.mark.client(shows="errors in the stream")
@pytest.mark.parametrize("fault", ["e2", "x2", "m2", "t2"])
async def test_a_fault_in_the_middle_is_raised_while_iterating(fault):
    async with real_stack() as stack, async_client(stack) as client:
        stream = await client.responses.create(model=f"any/echo-{fault}", input=TEXT, stream=True)
        text = ""
        with pytest.raises(openai.APIError) as caught:
            async for event in stream:
                text += getattr(event, "delta", "")
    assert text
    assert TEXT.startswith(text)
    assert caught.value.code in ("provider_stream_error", "upstream_truncated", "malformed_json")


@pytest.mark.client(shows="errors")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_not_carried_is_a_bad_request(fields, param, stream):
    async with real_stack() as stack, async_client(stack) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="any/echo", input="?", stream=stream, **fields)
    assert caught.value.param == param
    assert not stack.upstream.requests


@pytest.mark.client(api="Completions", shows="streaming")
@pytest.mark.parametrize("model", MODELS)
async def test_a_text_completion_whole_and_streamed(model):
    async with real_stack() as stack, async_client(stack) as client:
        whole = await client.completions.create(model=model, prompt=TEXT)
        stream = await client.completions.create(
            model=model, prompt=TEXT, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert (whole.object, whole.choices[0].text) == ("text_completion", TEXT)
    assert whole.choices[0].finish_reason == "stop"
    assert "".join(c.choices[0].text for c in chunks if c.choices) == TEXT
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
