"""OpenAI's SDK, pointed at a stack."""

from __future__ import annotations

import openai
import pytest
import trio

# The SDK and its httpx2 leave async generators of their own to the collector when a stream ends.
# The SDKs leave async generators of their own to the collector when a stream ends.
LEFT_GENERATORS = [
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <async_gen:pytest.PytestUnraisableExceptionWarning"
    ),
]


def sync_client(stack, key="dummy") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0)


def async_client(stack, key="dummy") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0)


async def in_thread(function):
    return await trio.to_thread.run_sync(function)
