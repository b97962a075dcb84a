"""Who is shown `/metrics`, where, and how often it is made."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from functools import partial

import httpx
import trio
from h2.events import ResponseReceived

from tests.observe.deployed import with_models
from tests.server.http2_client import Client
from tests.stack import chat, config, memory_stack
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.serving import serve
from trio_router.server.accept import bind

ADMIN = {"authorization": "Bearer admin-key-of-anna"}
CLIENT = {"authorization": "Bearer client-key"}
KEYS = "auth: {keys: [client-key], admin_keys: [admin-key-of-anna]}"


async def test_metrics_are_for_everyone_unless_they_are_for_admins(autojump_clock):
    async with memory_stack(KEYS) as stack:
        assert (await stack.client.get("/metrics")).status_code == 200
    async with memory_stack(f"{KEYS}\nserver: {{metrics: {{auth: admin}}}}") as stack:
        for headers in ({}, CLIENT, {"authorization": "Bearer admin-key-of-nobody"}):
            refused = await stack.client.get("/metrics", headers=headers)
            assert refused.status_code == 401
            assert "trio_router_" not in refused.text
        told = await stack.client.get("/metrics", headers=ADMIN)
        assert (told.status_code, "trio_router_tasks" in told.text) == (200, True)
        assert (await stack.client.get("/healthz")).status_code == 200


async def test_other_methods_are_refused_as_before(autojump_clock):
    async with memory_stack() as stack:
        assert (await stack.client.head("/metrics")).status_code == 200
        refused = await stack.client.post("/metrics", json={})
    assert refused.status_code == 405
    assert "GET" in refused.headers["allow"]


@asynccontextmanager
async def apart(settings: str):
    """A router whose metrics have a listener of their own, and clients of the two."""
    app = application(Router(config(settings)))
    listeners = bind("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    serving = partial(
        serve, app, bind("127.0.0.1", 0), shutdown_trigger=trio.sleep_forever, metrics=listeners
    )
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(serving)
        async with (
            httpx.AsyncClient(base_url=urls[0], trust_env=False) as main,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as side,
        ):
            yield main, side, port
        nursery.cancel_scope.cancel()


async def test_a_listener_of_their_own_serves_the_metrics_and_nothing_else():
    async with apart("server: {metrics: {port: 1}}") as (main, side, _):
        assert (await main.get("/healthz")).status_code == 200
        assert (await main.get("/metrics")).status_code == 404
        assert "trio_router_tasks" in (await side.get("/metrics")).text
        assert (await side.head("/metrics")).status_code == 200
        assert (await side.post("/metrics", json={})).status_code == 405
        for path in ("/healthz", "/dashboard", "/v1/models", "/dashboard/app.js", "/"):
            assert (await side.get(path)).status_code == 404
        body = chat("any/m")
        assert (await side.post("/v1/chat/completions", json=body)).status_code == 404
        page = {"origin": "https://evil.example"}
        assert (await side.get("/metrics", headers=page)).status_code == 403
        assert (await side.get("/metrics", headers={"host": "evil.example"})).status_code == 403


async def test_a_listener_of_their_own_speaks_http2_and_asks_for_the_key_too():
    settings = f"{KEYS}\nserver: {{metrics: {{auth: admin, port: 1}}}}"
    async with apart(settings) as (_, side, port):
        assert (await side.get("/metrics")).status_code == 401
        assert (await side.get("/metrics", headers=CLIENT)).status_code == 401
        assert (await side.get("/metrics", headers=ADMIN)).status_code == 200
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            client = Client(stream)
            await client.ask(1, "/metrics")
            got = await client.until(1, ResponseReceived)
            assert dict(got.headers)[b":status"] == b"401"


async def test_a_listener_that_is_meant_for_other_machines_takes_their_names():
    async with apart("server: {metrics: {host: 0.0.0.0, port: 1}}") as (main, side, _):
        assert (await side.get("/metrics", headers={"host": "router:9090"})).status_code == 200
        page = {"host": "router:9090", "origin": "http://evil.example"}
        assert (await side.get("/metrics", headers=page)).status_code == 403
        assert (await main.get("/v1/models", headers={"host": "router:9090"})).status_code == 403


class Counted:
    """Metrics whose texts are counted, each of which takes `seconds`."""

    def __init__(self, seconds: float = 0) -> None:
        self.metrics = with_models(3)
        self.made = 0
        text = self.metrics.text

        def counted() -> bytes:
            self.made += 1
            time.sleep(seconds)
            return text() + b"# %d\n" % self.made

        self.metrics.text = counted


async def test_scrapes_of_the_same_second_share_one_text(autojump_clock):
    counted = Counted()
    sampled = []
    texts = [await counted.metrics.render(lambda: sampled.append(1)) for _ in range(5)]
    assert (counted.made, len(sampled), len(set(texts))) == (1, 1, 1)
    await trio.sleep(1)
    assert await counted.metrics.render() != texts[0]
    assert counted.made == 2


async def test_those_that_wait_for_a_text_share_the_next_one(autojump_clock):
    counted = Counted(0.01)
    await trio.sleep(0.9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counted.metrics.render)
        await trio.sleep(0.2)  # into the next second
        for _ in range(50):
            nursery.start_soon(counted.metrics.render)
    assert counted.made == 2


async def test_a_scrape_that_is_given_up_harms_no_other():
    counted = Counted(0.05)
    with trio.move_on_after(0.01):
        await counted.metrics.render()
    assert b"trio_router_" in await counted.metrics.render()


async def test_a_scrape_a_second_later_sees_what_has_happened(autojump_clock):
    async with memory_stack() as stack:
        assert 'outcome="completed"' not in (await stack.client.get("/metrics")).text
        assert (await stack.ask(chat("any/echo"))).status_code == 200
        await trio.sleep(1)
        assert 'outcome="completed"' in (await stack.client.get("/metrics")).text


async def test_no_browser_takes_the_metrics_for_a_page(autojump_clock):
    async with memory_stack() as stack:
        headers = (await stack.client.get("/metrics")).headers
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert headers["x-content-type-options"] == "nosniff"
