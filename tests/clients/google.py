"""Google's SDKs, pointed at a router that really runs; upstreams of each dialect are scripted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.clients.speech import PROVIDERS
from tests.stack import real_stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeVar

    from google.genai import Client

    from tests.stack import RealStack

    T = TypeVar("T")

genai = pytest.importorskip("google.genai")

DIALECTS = pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "ollama"])
# The SDK leaves sockets and generators of a stream that was left to the collector.
LEFT = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def stack(settings: str = "") -> AbstractAsyncContextManager[RealStack]:
    """The router in this process, on a real socket."""
    return real_stack(settings, PROVIDERS.format(url="http://upstream"))


def client(url: str, key: str = "x", **options) -> Client:
    return genai.Client(api_key=key, http_options={"base_url": url, **options})


async def in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work)


async def under_asyncio(work: Callable[[], Awaitable[T]]) -> T:
    """The SDK's async half knows asyncio alone."""
    import asyncio

    return await trio.to_thread.run_sync(lambda: asyncio.run(work()))
