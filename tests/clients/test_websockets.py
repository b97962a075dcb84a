"""The Responses API over WebSocket with real sockets, through `websockets` and openai's SDK."""

from __future__ import annotations

import json
import ssl
from contextlib import contextmanager

import pytest
import trio
import trustme

from tests.clients.sdk import LEFT_GENERATORS
from tests.stack import real_stack
from tests.websockets import ASK, text_of

websockets = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402  after it is there

pytestmark = [
    *LEFT_GENERATORS,
    pytest.mark.client("pypi:websockets", api="Responses, over WebSocket"),
]


def response(socket) -> list[dict]:
    events = []
    for text in socket:
        events.append(json.loads(text))
        if events[-1]["type"] in ("response.completed", "response.failed") or "status" in events[-1]:
            break
    return events


@contextmanager
def connected(url: str, **more):
    with websockets.connect(f"ws{url.removeprefix('http')}/v1/responses", proxy=None, **more) as socket:
        yield socket


@pytest.mark.client(shows="long conversations, streaming, text")
@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_conversation_over_one_connection(compression):
    def run(url):
        with connected(url, compression=compression, max_size=None) as socket:
            name, said = None, []
            for number in range(20):
                text = f"{number}: " + "Größe 👋🏽 " * (number * 40)
                socket.send(json.dumps({**ASK, "input": text, "previous_response_id": name}))
                events = response(socket)
                name = events[-1]["response"]["id"]
                said.append(text_of(events) == text)
            socket.ping().wait(5)
            return said

    async with real_stack() as stack:
        assert all(await trio.to_thread.run_sync(run, stack.url))
        last = stack.upstream.requests[-1].json["messages"]
    assert len(last) == 39


@pytest.mark.client(shows="TLS")
async def test_over_tls(tmp_path):
    ca = trustme.CA()
    cert = ca.issue_cert("localhost", "127.0.0.1")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    trusted = ssl.create_default_context()
    ca.configure_trust(trusted)

    def run(url):
        with connected(url, ssl=trusted) as socket:
            socket.send(json.dumps(ASK))
            return text_of(response(socket))

    server = f"server: {{certfile: {tmp_path / 'cert.pem'}, keyfile: {tmp_path / 'key.pem'}}}"
    async with real_stack(server) as stack:
        assert await trio.to_thread.run_sync(run, stack.url) == ASK["input"]


@pytest.mark.client(shows="errors, keys")
async def test_a_key_that_is_wrong_and_a_router_without():
    def run(url, **headers):
        with pytest.raises(InvalidStatus) as caught, connected(url, additional_headers=headers):
            pass
        return caught.value.response.status_code

    async with real_stack("auth: {keys: [sk-good]}") as stack:
        assert await trio.to_thread.run_sync(run, stack.url) == 401
    async with real_stack("server: {websocket: false}") as stack:
        assert await trio.to_thread.run_sync(run, stack.url) == 426


@pytest.mark.client(shows="leaving")
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_leaving_in_the_middle_releases_the_upstream(how):
    def run(url):
        with connected(url) as socket:
            socket.send(json.dumps({**ASK, "model": "any/echo-c3-h3"}))
            socket.recv(timeout=5)
            if how == "close":
                socket.close()
            else:
                socket.socket.shutdown(2)

    async with real_stack() as stack:
        await trio.to_thread.run_sync(run, stack.url)
        with trio.fail_after(2):
            await stack.upstream.wait_closed_early()


async def test_the_router_says_that_it_goes_away():
    def run(url, ready):
        with connected(url) as socket:
            socket.send(json.dumps(ASK))
            response(socket)
            trio.from_thread.run_sync(ready.set)
            with pytest.raises(ConnectionClosed) as caught:
                socket.recv(timeout=10)
            return caught.value.rcvd.code

    async with real_stack() as stack, trio.open_nursery() as nursery:
        ready = trio.Event()

        async def stop():
            await ready.wait()
            stack.stop.set()

        nursery.start_soon(stop)
        assert await trio.to_thread.run_sync(run, stack.url, ready) == 1001
        with trio.fail_after(5):
            await stack.stopped.wait()


@pytest.mark.client("pypi:openai", name="openai (Python)", shows="streaming, text")
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
async def test_openais_sdk_goes_on_from_its_last_response():
    openai = pytest.importorskip("openai")
    if not hasattr(openai.OpenAI(api_key="x").responses, "connect"):
        pytest.skip("this version of the SDK has no WebSocket mode")

    def run(url):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
        with client, client.responses.connect() as connection:
            name, said = None, []
            for text in ("one", "two"):
                connection.response.create(model="any/echo", input=text, previous_response_id=name)
                for event in connection:
                    if event.type == "response.completed":
                        name = event.response.id
                        said.append(event.response.output_text)
                        break
            return said

    async with real_stack() as stack:
        assert await trio.to_thread.run_sync(run, stack.url) == ["one", "two"]
