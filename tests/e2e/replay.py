"""Recordings replayed: an upstream on a socket says them, the running router passes them on."""

from __future__ import annotations

import base64
import random
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.helpers import at_offsets, corpus
from tests.stack import real_stack
from trio_router.demo import Answer, SeenRequest, Send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from tests.stack import RealStack

Record = dict[str, Any]
PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1"}
  ollama: {base_url: "http://upstream", dialect: ollama}
  gemini: {base_url: "http://upstream/v1beta", dialect: gemini}
  cohere: {base_url: "http://upstream/v2", dialect: cohere}
  lenient: {base_url: "http://upstream/v1", lenient_end: true}
  anthropic: {base_url: "http://upstream/v1", dialect: anthropic, api_key: sk-ant}
  openai-responses: {base_url: "http://upstream/v1", responses: true}
  openai-completions: {base_url: "http://upstream/v1"}
  only-chat: {base_url: "http://upstream/v1", completions: false}
"""
AT_ONCE = 4  # replays
CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models"  # the model and the verb come behind it; streams are events
GEMINI_ARRAY = "/v1/models"  # the same, with streams that are arrays
# What each endpoint is asked.
ASK: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "?"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "?"}], "max_tokens": 64},
    "/v1/responses": {"input": "?"},
    "/v1/completions": {"prompt": "?"},
    "/api/chat": {"messages": [{"role": "user", "content": "?"}]},
    "/api/generate": {"prompt": "?"},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "?"}]}]},
    GEMINI_ARRAY: {"contents": [{"role": "user", "parts": [{"text": "?"}]}]},
}


def recordings(kind: str, *dialects: str) -> list[Record]:
    wanted = dialects or ("openai", "ollama")
    return [r for r in corpus("streams.jsonl") if r["kind"] == kind and r["dialect"] in wanted]


def body_of(record: Record) -> bytes:
    return base64.b64decode(record["response"]["body_b64"])


def whole(body: bytes, seed: int) -> list[bytes]:
    return [body]


def tiny(body: bytes, seed: int) -> list[bytes]:
    """Byte by byte; a large body in pieces of 7."""
    size = 1 if len(body) <= 4_000 else 7
    return [body[i : i + size] for i in range(0, len(body), size)]


def random_cuts(body: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    return at_offsets(body, [rng.randrange(len(body)) for _ in range(30)] if body else [])


def answer(status: int, content_type: str | None, pieces: Iterable[bytes]) -> Answer:
    headers = [("content-type", content_type)] if content_type else []
    return Answer(status, headers, [Send(piece) for piece in pieces if piece])


def recorded_answer(record: Record, pieces: Iterable[bytes]) -> Answer:
    response = record["response"]
    return answer(response["status"], (response.get("headers") or {}).get("content-type"), pieces)


def _model(request: SeenRequest) -> str:
    """Gemini has it in the path."""
    named = re.search("/models/(m[0-9]+):", request.path)
    return named[1] if named else request.json["model"]


class Replayer:
    """One running router, and an upstream that answers with what it was told for each model."""

    def __init__(self, stack: RealStack, client: httpx.AsyncClient) -> None:
        self.stack, self.client = stack, client
        self._answers: dict[str, Answer] = {}
        stack.upstream.script = lambda request: self._answers[_model(request)]

    async def ask(
        self, provider: str, answer: Answer, path: str = CHAT, **fields: Any
    ) -> httpx.Response:
        """The router's answer at `path`, when the upstream says `answer`."""
        model = f"m{len(self._answers)}"
        self._answers[model] = answer
        body = {**ASK[path], **fields, "model": f"{provider}/{model}"}
        if path in (GEMINI, GEMINI_ARRAY):
            verb = "streamGenerateContent" if body.pop("stream", False) else "generateContent"
            query = "?alt=sse" if path == GEMINI else ""
            path = f"{path}/{body.pop('model')}:{verb}{query}"
        return await self.client.post(path, json=body)

    async def check_all(
        self,
        records: Sequence[Record],
        cuts: Sequence[Callable[[bytes, int], list[bytes]]],
        check: Callable[[Record, httpx.Response], None],
        path: str = CHAT,
        provider: str = "",
        **fields: Any,
    ) -> int:
        """Replays every record in every cut and checks each; the number of replays.

        All that is wrong comes out at once, each with the record's id and the cut.
        """
        wrong: list[str] = []
        limit = trio.CapacityLimiter(AT_ONCE)
        count = 0

        async def one(record: Record, seed: int, cut: Callable[[bytes, int], list[bytes]]) -> None:
            nonlocal count
            async with limit:
                told = recorded_answer(record, cut(body_of(record), seed))
                response = await self.ask(provider or record["dialect"], told, path, **fields)
            try:
                check(record, response)
            except (AssertionError, LookupError, TypeError, ValueError) as fault:
                end = response.content[-300:]
                wrong.append(f"{record['id']} {cut.__name__}: {fault!r:.1500}\n  ... {end!r}")
            count += 1

        async with trio.open_nursery() as nursery:
            for seed, record in enumerate(records):
                for cut in cuts:
                    nursery.start_soon(one, record, seed, cut)
        assert not wrong, "\n".join([f"{len(wrong)} of {count}:", *wrong])
        return count


@asynccontextmanager
async def replayer(settings: str = "") -> AsyncIterator[Replayer]:
    """httpx's own transport asks: what reads the router's answer is not the router's code either."""
    async with real_stack(settings, PROVIDERS) as stack:
        async with httpx.AsyncClient(base_url=stack.url, timeout=60, trust_env=False) as client:
            yield Replayer(stack, client)


QUICK = [whole, random_cuts]
CUTS = pytest.mark.parametrize(
    "cuts", [pytest.param(QUICK, id="quick"), pytest.param([tiny], id="tiny", marks=pytest.mark.slow)]
)
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
