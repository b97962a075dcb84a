"""Web pages and a router, over HTTP: every endpoint, every server, every kind of answer."""

from __future__ import annotations

import h2.events
import pytest

from tests.api.uploads import upload_stack
from tests.connections import connected, everything
from tests.server.http2_client import Client
from tests.server.stock_hypercorn import connect
from tests.stack import chat, events, memory_stack, real_stack, text_of
from trio_router.dialects import CLIENTS

URL = "/v1/chat/completions"
APP = "https://app.example"
KEYS = "auth: {keys: [client-key], admin_keys: [admin-key-of-anna]}"
BEARER = {"authorization": "Bearer client-key"}
CORS = f"{KEYS}\nserver: {{max_body: 10000, cors: {{origins: ['{APP}']}}}}"
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}
ENDPOINTS = [
    *[("POST", path) for path in CLIENTS],
    ("POST", URL),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/files"),
    ("DELETE", "/v1/files/f-1"),
    ("GET", "/v1/files/f-1/content"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/any/m"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/dashboard"),
    ("GET", "/dashboard/events"),
    ("GET", "/dashboard/app.js"),
    ("POST", "/dashboard/stop"),
    ("POST", "/dashboard/login"),
    ("GET", "/nothing"),
    ("OPTIONS", URL),
    ("OPTIONS", "/v1/models"),
]


def code(response) -> tuple[int, str]:
    error = response.json()["error"]
    return response.status_code, error.get("code") or error["type"]


def words_of(response) -> str:
    """An error's text: the whole of it in Ollama's API."""
    error = response.json()["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.fixture
async def stack(autojump_clock):
    async with memory_stack() as stack:
        yield stack


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}],
)
async def test_without_keys_no_endpoint_answers_a_foreign_page(stack, method, path, headers):
    json = {"content-type": "application/json"}
    response = await stack.client.request(method, path, content=b"{}", headers={**json, **headers})
    assert response.status_code == 403
    assert "auth.keys" in words_of(response)
    assert "access-control-allow-origin" not in response.headers
    assert stack.upstream.requests == []


@pytest.mark.parametrize("path", [p for m, p in ENDPOINTS if m == "POST"])
async def test_without_keys_plain_text_is_refused_by_every_endpoint(stack, path):
    content = b'{"model": "any/echo", "messages": [{"role": "user", "content": "hi"}]}'
    response = await stack.client.post(path, content=content, headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert stack.upstream.requests == []


async def test_the_refusals_have_codes_in_the_shape_of_their_api(stack):
    foreign = await stack.client.post(URL, json=chat("any/echo"), headers={"host": "evil.example"})
    assert code(foreign) == (403, "forbidden_origin")
    text = {"content-type": "text/plain"}
    assert code(await stack.client.post(URL, content=b"{}", headers=text)) == (
        415,
        "unsupported_media_type",
    )
    told = (await stack.client.post("/v1/messages", json={}, headers={"host": "evil.example"})).json()
    assert told["type"] == "error"


async def test_curl_without_a_content_type_is_answered_as_before(stack):
    content = b'{"model": "any/echo", "messages": [{"role": "user", "content": "hi"}]}'
    form = {"content-type": "application/x-www-form-urlencoded"}
    for headers in (form, {}):
        assert (await stack.client.post(URL, content=content, headers=headers)).status_code == 200
        page = {**headers, "origin": "http://localhost"}
        assert code(await stack.client.post(URL, content=content, headers=page))[0] == 415


async def test_a_page_that_loopback_serves_may_ask(stack):
    page = {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}
    assert (await stack.client.post(URL, json=chat("any/echo"), headers=page)).status_code == 200


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://localhost:8777/v1/models", b"localhost:8777", b"200"),
        (b"http://LOCALHOST/v1/models", b"localhost", b"200"),
        (b"http://evil.example/v1/models", b"localhost", b"403"),
        (b"http://localhost/v1/models", b"evil.example", b"403"),
        (b"http://evil.example?/v1/models", b"localhost", b"403"),
        (b"http://localhost@evil.example/v1/models", b"localhost", b"403"),
    ],
)
async def test_a_target_that_names_its_host_counts_too(target, host, status):
    async with real_stack() as stack, connected(stack) as stream:
        line = b"GET %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (target, host)
        await stream.send_all(line)
        assert (await everything(stream)).startswith(b"HTTP/1.1 %b " % status)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\n", b"400"),
        (b"GET /v1/models HTTP/1.1\r\nhost:\r\n", b"403"),
        (b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n", b"400"),
        (b"GET /v1/models HTTP/1.0\r\n", b"403"),
        (b"GET /v1/models HTTP/1.0\r\nhost: localhost\r\n", b"200"),
        (b"GET /healthz HTTP/1.0\r\n", b"200"),
    ],
)
async def test_a_missing_or_doubled_host_is_no_way_in(head, status):
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(head + b"connection: close\r\n\r\n")
        assert (await everything(stream)).startswith(b"HTTP/1.1 %b " % status)


@pytest.mark.parametrize(
    ("authority", "status"),
    [("localhost:8777", b"200"), ("[::1]:8777", b"200"), ("evil.example", b"403")],
)
async def test_http2s_authority_is_a_host(authority, status):
    async with real_stack() as stack, connected(stack) as stream:
        client = Client(stream)
        fields = {":method": "GET", ":path": "/v1/models", ":scheme": "http", ":authority": authority}
        client.h2.send_headers(1, list(fields.items()), end_stream=True)
        await client.send()
        got = await client.until(1, h2.events.ResponseReceived)
        assert dict(got.headers)[b":status"] == status


@pytest.mark.parametrize(
    "more", [b"host: evil.example", b"host: localhost\r\norigin: null", b"host: localhost"]
)
async def test_under_hypercorns_own_server_it_is_the_same(more, autojump_clock):
    async with memory_stack() as stack:
        connection = await connect(stack)
        await connection.send_all(b"GET /v1/models HTTP/1.1\r\n%b\r\n\r\n" % more)
        is_ours = more == b"host: localhost"
        got = bytes(await connection.receive_some(65536))
    assert got.startswith(b"HTTP/1.1 200" if is_ours else b"HTTP/1.1 403")


async def test_with_keys_any_name_and_any_type_will_do(autojump_clock):
    async with memory_stack(KEYS) as stack:
        content = b'{"model": "any/echo", "messages": [{"role": "user", "content": "hi"}]}'
        headers = {**BEARER, "host": "router.example", "origin": APP, "content-type": "text/plain"}
        response = await stack.client.post(URL, content=content, headers=headers)
        assert response.status_code == 200
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert "vary" not in response.headers


# -- server.cors


@pytest.mark.parametrize("path", [URL, "/v1/models", "/v1/files", "/v1/files/f-1", "/nothing"])
async def test_a_preflight_needs_no_key_and_has_no_body(path, autojump_clock):
    async with memory_stack(CORS) as stack:
        response = await stack.client.options(path, headers=PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-length" not in response.headers
    assert response.headers["access-control-allow-origin"] == APP
    assert response.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "Origin" in response.headers["vary"].split(", ")
    assert response.headers["x-request-id"]


async def test_a_preflight_from_elsewhere_is_refused_and_one_without_cors_is_no_preflight(
    autojump_clock,
):
    async with memory_stack(CORS) as stack:
        response = await stack.client.options(URL, headers=PREFLIGHT | {"origin": "https://b.example"})
        assert code(response) == (403, "forbidden_origin")
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"
    async with memory_stack(KEYS) as stack:
        assert code(await stack.client.options(URL, headers=PREFLIGHT))[0] == 405


async def test_every_answer_says_that_the_page_may_read_it(autojump_clock):
    page = {**BEARER, "origin": APP}
    async with memory_stack(CORS) as stack:

        async def post(body, **headers):
            return await stack.client.post(URL, json=body, headers={**page, **headers})

        answers = {
            200: await post(chat("any/echo")),
            401: await post(chat("any/echo"), authorization="Bearer wrong"),
            400: await post({"model": 1}),
            404: await post(chat("nobody/m")),
            405: await stack.client.delete(URL, headers=page),
            413: await post(chat("any/echo", "x" * 20000)),
            429: await post(chat("any/echo-r429")),
        }
        plain = await stack.client.get("/v1/models", headers=page)
        nothing = await stack.client.get("/nothing", headers=page)
        async with stack.client.stream(
            "POST", URL, json=chat("any/echo", "hi", stream=True), headers=page
        ) as streamed:
            assert text_of(events(await streamed.aread())) == "hi"
    for status, answer in answers.items():
        assert answer.status_code == status
    assert (plain.status_code, nothing.status_code) == (200, 404)
    for answer in [*answers.values(), plain, nothing, streamed]:
        assert answer.headers["access-control-allow-origin"] == APP, answer.status_code
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"
    assert answers[429].headers["retry-after"] == "1"


async def test_over_http2_pages_are_answered_alike():
    async with real_stack(CORS) as stack, connected(stack) as stream:
        client = Client(stream)
        fields = {":method": "OPTIONS", ":path": URL, ":scheme": "http", ":authority": "localhost"}
        client.h2.send_headers(1, list((fields | PREFLIGHT).items()), end_stream=True)
        await client.send()
        got = dict((await client.until(1, h2.events.ResponseReceived)).headers)
        assert (got[b":status"], got[b"access-control-allow-origin"]) == (b"204", APP.encode())
        await client.until(1, h2.events.StreamEnded)


async def test_a_page_without_keys_that_the_configuration_names_may_ask(autojump_clock):
    async with memory_stack(f"server: {{cors: {{origins: ['{APP}']}}}}") as stack:
        page = {"origin": APP, "sec-fetch-site": "cross-site"}
        assert (await stack.client.options(URL, headers=PREFLIGHT)).status_code == 204
        response = await stack.client.post(URL, json=chat("any/echo"), headers=page)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == APP
        other = {"origin": "https://evil.example"}
        assert (await stack.client.post(URL, json=chat("any/echo"), headers=other)).status_code == 403


# -- what passes through


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "audio/mpeg"])
async def test_what_passes_through_runs_nothing_in_a_browser(kind):
    page = b"<script xmlns='http://www.w3.org/2000/svg'>alert(1)</script>"
    async with upload_stack() as stack:
        stack.peer.says = (
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
            b"content-security-policy: script-src *\r\n\r\n%b" % (kind.encode(), len(page), page)
        )
        response = await stack.client.get("/v1/files/f-1/content?provider=open")
    assert (response.status_code, response.content) == (200, page)
    assert response.headers["content-type"] == kind
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"].split("; ")
    assert {"sandbox", "default-src 'none'"} <= set(policy)
