"""The `openai` SDK, sync and async under trio, against the running router."""

from __future__ import annotations

import openai
import pytest
import trio

from tests.chunks import SSE, delta
from tests.clients.sdk import LEFT_GENERATORS, async_client, in_thread, sync_client
from tests.stack import real_stack
from trio_router.demo import Answer, Hang, sse

pytestmark = [*LEFT_GENERATORS, pytest.mark.client("pypi:openai", name="openai (Python)", api="Chat")]

ASK = [{"role": "user", "content": "Привет, 世界 👋🏽"}]
KEYS = "auth: {keys: [sk-good]}"


@pytest.mark.client(shows="streaming")
async def test_a_sync_client_streams():
    async with real_stack() as stack:

        def run() -> tuple[str, int]:
            with sync_client(stack) as client:
                stream = client.chat.completions.create(
                    model="deepseek/chat",
                    messages=ASK,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                chunks = list(stream)
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            return text, chunks[-1].usage.completion_tokens

        text, tokens = await in_thread(run)
    assert text == ASK[0]["content"]
    assert tokens > 0


@pytest.mark.client(shows="text")
@pytest.mark.parametrize("model", ["deepseek/chat", "ollama/echo", "any/echo-ndjson"])
async def test_a_sync_client_gets_a_whole_answer(model):
    async with real_stack() as stack:

        def run():
            with sync_client(stack) as client:
                return client.chat.completions.create(model=model, messages=ASK)

        answer = await in_thread(run)
    assert answer.choices[0].message.content == ASK[0]["content"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0


@pytest.mark.client(shows="streaming")
@pytest.mark.parametrize("model", ["deepseek/chat", "ollama/echo"])
async def test_an_async_client_streams_under_trio(model):
    async with real_stack() as stack, async_client(stack) as client:
        stream = await client.chat.completions.create(model=model, messages=ASK, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert text == ASK[0]["content"]


@pytest.mark.client(shows="leaving")
async def test_an_async_client_that_leaves_in_the_middle_releases_the_upstream():
    async with real_stack() as stack:
        stack.upstream.script = lambda _: Answer(
            headers=SSE, steps=[*sse(delta("a"), done=False), Hang()]
        )
        async with async_client(stack) as client:
            stream = await client.chat.completions.create(model="any/m", messages=ASK, stream=True)
            assert (await anext(aiter(stream))).choices[0].delta.content == "a"
            await stream.close()
            with trio.fail_after(5):
                await stack.upstream.wait_closed_early()


@pytest.mark.client(shows="models")
async def test_the_models_are_listed():
    async with real_stack() as stack, async_client(stack) as client:
        assert [m.id async for m in client.models.list()] == [
            "deepseek/chat",
            *(
                f"{provider}/{name}"
                for provider in ("any", "ollama")
                for name in ("echo", "echo-ndjson")
            ),
        ]
        assert (await client.models.retrieve("any/echo")).id == "any/echo"


@pytest.mark.client(shows="errors")
@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        ("any/echo-r400", openai.BadRequestError, "scripted"),
        ("nowhere/x", openai.NotFoundError, "model_not_found"),
        ("any/echo-r429", openai.RateLimitError, "scripted"),
        ("any/echo-r500", openai.InternalServerError, "scripted"),
        ("any/echo-r401", openai.InternalServerError, "provider_auth_error"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_errors_are_the_sdks_own_exceptions(model, kind, code, stream):
    async with real_stack() as stack, async_client(stack) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model=model, messages=ASK, stream=stream)
    assert caught.value.code == code
    assert caught.value.type


@pytest.mark.client(shows="errors")
async def test_a_wrong_key_is_an_authentication_error():
    async with real_stack(KEYS) as stack:
        async with async_client(stack, "sk-bad") as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.chat.completions.create(model="any/echo", messages=ASK)
        async with async_client(stack, "sk-good") as client:
            answer = await client.chat.completions.create(model="any/echo", messages=ASK)
    assert caught.value.code == "invalid_api_key"
    assert answer.choices[0].message.content == ASK[0]["content"]


@pytest.mark.client(shows="errors in the stream")
@pytest.mark.parametrize("fault", ["e2", "x2", "m2", "t2"])
async def test_a_fault_in_the_middle_is_raised_while_iterating(fault):
    async with real_stack() as stack, async_client(stack) as client:
        stream = await client.chat.completions.create(
            model=f"any/echo-{fault}", messages=ASK, stream=True
        )
        text = ""
        with pytest.raises(openai.APIError) as caught:
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
    assert ASK[0]["content"].startswith(text)
    assert text
    assert caught.value.code in ("provider_stream_error", "upstream_truncated", "malformed_json")
