"""Clients' connections over real sockets: what HTTP/1.1 and HTTP/2 clients and worse ones get."""

from __future__ import annotations

import json
import ssl
import subprocess
from shutil import which
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.lowlevel
import trustme

from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.connections import connected, everything, post, until
from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Answer, sse
from trio_router.observe.record import Outcome
from trio_router.server.accept import accept_from, bind

if TYPE_CHECKING:
    import socket


async def test_what_is_no_http_gets_a_400_and_the_connection_is_closed():
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n" + b"x" * 100_000)
        head, _, body = (await everything(stream)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"


async def test_a_head_without_end_gets_a_431():
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000)
        assert (await everything(stream)).startswith(b"HTTP/1.1 431 ")


async def test_what_follows_good_requests_spoils_none_of_their_answers():
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(post(chat("any/echo")) * 2 + b"nonsense\r\n\r\n")
        got = await everything(stream)
    assert got.count(b"HTTP/1.1 200 ") == 2
    assert got.count(b"HTTP/1.1 400 ") == 1
    assert got.index(b"HTTP/1.1 400 ") > got.rindex(b"HTTP/1.1 200 ")


async def test_a_client_that_asks_for_it_is_told_to_send_its_body():
    async with real_stack() as stack, connected(stack) as stream:
        head, _, body = post(chat("any/echo"), "expect: 100-continue").partition(b"\r\n\r\n")
        await stream.send_all(head + b"\r\n\r\n")
        assert await until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(body)
        assert (await until(stream, b"total_tokens")).startswith(b"HTTP/1.1 200 ")


async def test_a_refused_client_that_waits_for_a_word_is_not_waited_for():
    keys = "auth: {keys: [sk-web]}"
    async with real_stack(keys) as stack, connected(stack) as stream:
        head = post(chat("any/echo"), "expect: 100-continue").partition(b"\r\n\r\n")[0]
        await stream.send_all(head + b"\r\n\r\n")
        got = await everything(stream)
    assert got.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close\r\n" in got


async def test_http_1_0_gets_its_stream_without_chunks_and_a_closed_connection():
    async with real_stack() as stack, connected(stack) as stream:
        text = json.dumps(chat("any/echo", "old", stream=True)).encode()
        await stream.send_all(
            b"POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(text), text)
        )
        head, _, body = (await everything(stream)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert text_of(events(body)) == "old"


async def test_head_gets_the_head_alone():
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(
            b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" + post(chat("any/echo"))
        )
        got = await until(stream, b"total_tokens")
    head, _, rest = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 15" in head
    assert rest.startswith(b"HTTP/1.1 200 ")


async def test_streams_and_answers_share_a_connection():
    async with real_stack() as stack, connected(stack) as stream:
        for is_stream in (True, False, True):
            await stream.send_all(post(chat("any/echo", "again", stream=is_stream)))
            got = await until(stream, b"\r\n0\r\n\r\n" if is_stream else b"total_tokens")
            assert got.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_leaves_behind_requests_sent_ahead_releases_the_upstream():
    async with real_stack() as stack:
        booked = Booked(stack.router)
        async with connected(stack) as stream:
            await stream.send_all(post(chat("any/echo-h1", stream=True)) + post(chat("any/echo")))
            await until(stream, b"data: ")
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
            assert (await booked.next()).outcome == Outcome.CLIENT_GONE
        assert len(stack.upstream.requests) == 1


async def test_what_a_full_socket_does_not_take_comes_later_and_in_order():
    """The pump writes to the socket itself while the client's task waits: nothing may overtake."""
    pieces = [f"{number:06d}" * 500 for number in range(3000)]
    async with real_stack() as stack:
        stack.upstream.script = lambda _: Answer(
            headers=SSE, steps=sse(*[delta(piece) for piece in pieces])
        )
        async with connected(stack) as stream:
            await stream.send_all(post(chat("any/m", stream=True), "connection: close"))
            got = b""
            with trio.fail_after(60):
                while data := await stream.receive_some(3000 if len(got) < 200_000 else 100_000):
                    got += data
                    if len(got) < 200_000:
                        await trio.lowlevel.checkpoint()
    raw, _, body = got.partition(b"\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200")
    assert text_of(events(dechunked(body))) == "".join(pieces)


def dechunked(body: bytes) -> bytes:
    parts = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if not (length := int(size, 16)):
            return b"".join(parts)
        parts.append(body[:length])
        assert body[length : length + 2] == b"\r\n"
        body = body[length + 2 :]


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secure(authority, tmp_path):
    """The settings of a router that serves over TLS."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    return f"server: {{certfile: '{tmp_path}/cert.pem', keyfile: '{tmp_path}/key.pem'}}"


@pytest.mark.parametrize("http2", [False, True])
async def test_over_tls_either_http_gets_its_stream(http2, secure, trusting):
    async with real_stack(secure) as stack:
        assert stack.url.startswith("https://")
        async with httpx.AsyncClient(
            base_url=stack.url, verify=trusting, http1=not http2, http2=http2, trust_env=False
        ) as client:
            for _ in range(2):
                whole = await client.post("/v1/chat/completions", json=chat("any/echo", "тише"))
                body = chat("any/echo", "тише", stream=True)
                async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                    assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                    read = await response.aread()
                assert whole.json()["choices"][0]["message"]["content"] == "тише"
                assert text_of(events(read)) == "тише"


# httpcore leaves its generators unfinished when it is left itself.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("http2", [False, True])
async def test_over_tls_a_client_that_leaves_releases_the_upstream(http2, secure, trusting):
    async with real_stack(secure) as stack:
        booked = Booked(stack.router)
        client = httpx.AsyncClient(
            base_url=stack.url, verify=trusting, http1=not http2, http2=http2, trust_env=False
        )
        async with client:
            body = chat("any/echo-h1", stream=True)
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                async for _ in response.aiter_bytes():
                    break
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
            assert (await booked.next()).outcome == Outcome.CLIENT_GONE


async def test_a_plain_client_of_a_tls_port_gets_nothing_and_hurts_nobody(secure, trusting):
    async with real_stack(secure) as stack:
        async with connected(stack) as stream:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with trio.fail_after(5):
                try:
                    got = await stream.receive_some()
                except trio.BrokenResourceError:
                    got = b""
            assert b"HTTP" not in got
        async with httpx.AsyncClient(base_url=stack.url, verify=trusting, trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.skipif(which("curl") is None, reason="curl is not here")
@pytest.mark.parametrize("how", ["--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge"])
async def test_curl_gets_its_stream_whichever_http_it_speaks(how):
    body = json.dumps(chat("any/echo", "hello 👋🏽", stream=True))
    async with real_stack() as stack:
        done = await trio.run_process(
            ["curl", "-sN", how, "--noproxy", "*", f"{stack.url}/v1/chat/completions", "-d", body],
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
        )
    assert text_of(events(done.stdout)) == "hello 👋🏽"
    assert done.stdout.endswith(b"data: [DONE]\n\n")


async def test_without_descriptors_connections_wait_until_there_are_some():
    class Full:
        """A listener of a process that has no descriptor left, twice."""

        def __init__(self, listener: socket.socket) -> None:
            self._listener = listener
            self.refusals = 2

        def fileno(self) -> int:
            return self._listener.fileno()

        def accept(self):
            if self.refusals:
                self.refusals -= 1
                raise OSError(24, "Too many open files")
            return self._listener.accept()

    (listener,) = bind("127.0.0.1", 0)
    with listener:
        full = Full(listener)
        served = trio.Event()

        async def handle(sock: socket.socket) -> None:
            sock.close()
            served.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_from, full, handle, nursery)
            with trio.fail_after(5):
                client = await trio.open_tcp_stream(*listener.getsockname())
                await served.wait()
            await client.aclose()
            nursery.cancel_scope.cancel()
        assert full.refusals == 0
