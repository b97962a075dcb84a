"""A load: so many requests, so many at once, every answer checked."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass, field

import httpx
import trio

from trio_router.transport import StreamTransport
from trio_router.wire.sse import SSEDecoder

_LIMIT = 300.0  # s that a whole load may take
_BEGIN = "token0 token1 "  # what the embedded upstream says, if it is asked for more than one chunk


@dataclass(frozen=True, slots=True)
class Workload:
    """`requests` of `model`, `at_once` of them at any time."""

    name: str
    what: str
    model: str
    requests: int
    at_once: int
    is_stream: bool = True


@dataclass(slots=True)
class Tally:
    """What a load saw.  Times are in seconds."""

    good: int = 0
    faults: list[str] = field(default_factory=list)
    chunks: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)


async def run(url: str, prefix: str, workload: Workload, trusted: str | None = None) -> Tally:
    """Asks `url` for `prefix` and the workload's model.  A broken or wrong answer is a fault, told.

    `trusted` is the file of a certificate that an https URL may show.
    """
    tally = Tally()
    left = workload.requests
    body = {
        "model": prefix + workload.model,
        "stream": workload.is_stream,
        "messages": [{"role": "user", "content": "Say something."}],
    }
    content = json.dumps(body).encode()

    async def ask_on(client: httpx.AsyncClient) -> None:
        nonlocal left
        while left:
            left -= 1
            try:
                await _ask(client, content, workload.is_stream, tally)
            except (httpx.HTTPError, ValueError) as fault:
                tally.faults.append(f"{type(fault).__name__}: {fault}")

    began = time.perf_counter()
    context = ssl.create_default_context(cafile=trusted) if trusted else None
    transport = StreamTransport(trust_env=False, ssl_context=context)
    async with httpx.AsyncClient(transport=transport, base_url=url, timeout=None) as client:
        with trio.fail_after(_LIMIT):
            async with trio.open_nursery() as nursery:
                for _ in range(workload.at_once):
                    nursery.start_soon(ask_on, client)
    tally.seconds = time.perf_counter() - began
    return tally


async def _ask(client: httpx.AsyncClient, body: bytes, is_stream: bool, tally: Tally) -> None:
    began = time.perf_counter()
    path = "/v1/chat/completions"
    async with client.stream("POST", path, content=body) as response:
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        text = ""
        chunks = 0
        if is_stream:
            decoder = SSEDecoder(1 << 20)
            async for data in response.aiter_raw():
                for event in decoder.receive_data(data):
                    chunks += 1
                    if chunks == 1:
                        tally.first.append(time.perf_counter() - began)
                    text += _delta(event.data)
        else:
            text = json.loads(await response.aread())["choices"][0]["message"]["content"]
    if not text.startswith(_BEGIN):
        raise ValueError("another text than was asked for")
    tally.total.append(time.perf_counter() - began)
    tally.chunks += chunks
    tally.good += 1


def _delta(data: bytes) -> str:
    if data == b"[DONE]":
        return ""
    event = json.loads(data)
    if "error" in event:
        raise ValueError(event["error"]["message"])
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
