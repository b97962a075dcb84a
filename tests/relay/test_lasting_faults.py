"""Faults that would be the same again: the same target is not asked a second time."""

from __future__ import annotations

import ssl
from contextlib import suppress

import httpx
import pytest
import trio
import trustme

from tests.relay.routes import PROVIDERS, good, scene
from trio_router.errors import LastingFault, NetworkError
from trio_router.routing.retry import Verdict, is_blamed, verdict
from trio_router.transport import StreamTransport
from trio_router.transport.faults import MalformedResponse, ProxyRefusal, is_lasting

OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 %d Moved\r\nLocation: http://elsewhere/v1\r\nContent-Length: 0\r\n\r\n"

LASTING = {
    **{f"a redirect, {status}": MOVED % status for status in (300, 301, 302, 303, 304, 307, 308)},
    "headers too large": OK + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
    "too many headers": OK + b"X-One: two\r\n" * 10_000 + b"\r\n",
    "length with chunked": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length that is no number": OK + b"Content-Length: 3x\r\n\r\nabc",
    "a negative length": OK + b"Content-Length: -1\r\n\r\nabc",
    "a chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "a chunk size without an end": OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 200_000,
    "a header without a colon": OK + b"Content-Length 3\r\n\r\nabc",
    "another protocol's version": b"HTTP/3.7 200 OK\r\n\r\n",
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.7\r\n",
    "HTTP/2": b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
    "TLS": b"\x15\x03\x01\0\x02\x02\x46",
}
PASSING = {
    "no answer": b"",
    "half a head": OK + b"Content-",
    "half a body": OK + b"Content-Length: 9\r\n\r\nabc",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
}


class Gone:
    """A provider at the host `gone`: `serve` is given each of its connections."""

    def __init__(self, s, nursery, serve):
        self.asked = 0
        self._before, s.stack._to_upstream = s.stack._to_upstream, self._connect
        self._nursery = nursery
        self._serve = serve

    async def _connect(self, host, port):
        if host != "gone":
            return await self._before(host, port)
        await trio.lowlevel.checkpoint()
        self.asked += 1
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours


async def outcome(serve, *, stream=True, scheme="http"):
    """How often a target that does `serve` is asked, and what the client gets in the end."""
    providers = PROVIDERS.replace("http://upstream", f"{scheme}://gone", 1)
    async with trio.open_nursery() as nursery:
        async with scene(providers=providers) as s:
            gone = Gone(s, nursery, serve)
            s.script("y", good())
            seen = await s.ask(stream=stream)
            assert seen.status == 200
            assert seen.headers["x-trio-router-target"] == "b/y"
            return gone.asked, seen.took


def saying(answer):
    async def serve(stream):
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()
            await stream.send_all(answer)
            await stream.aclose()

    return serve


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", LASTING)
async def test_a_fault_that_will_be_the_same_is_met_once(fault, stream, autojump_clock):
    assert await outcome(saying(LASTING[fault]), stream=stream) == (1, 0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", PASSING)
async def test_a_connection_that_is_lost_is_tried_again(fault, stream, autojump_clock):
    assert await outcome(saying(PASSING[fault]), stream=stream) == (3, 0.75)


def shaking_hands(context):
    async def serve(stream):
        async with stream:
            with suppress(trio.BrokenResourceError, ssl.SSLError):
                await trio.SSLStream(stream, context, server_side=True).do_handshake()

    return serve


async def test_a_certificate_that_does_not_verify_is_met_once(autojump_clock):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("gone").configure_cert(context)
    assert await outcome(shaking_hands(context), scheme="https") == (1, 0)


async def test_an_answer_without_tls_is_met_once(autojump_clock):
    assert await outcome(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), scheme="https") == (1, 0)


async def test_a_handshake_that_is_cut_is_tried_again(autojump_clock):
    assert await outcome(saying(b""), scheme="https") == (3, 0.75)


async def tls_fault(client, server, name="gone"):
    """What the transport raises where the two contexts do not agree."""

    async with trio.open_nursery() as nursery:

        async def connect(host, port):
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(shaking_hands(server), theirs)
            return ours

        transport = StreamTransport(ssl_context=client, connect=connect, trust_env=False)
        with pytest.raises(httpx.ConnectError) as raised:
            await transport.handle_async_request(httpx.Request("GET", f"https://{name}/"))
        await transport.aclose()
        return raised.value


async def test_a_certificate_of_another_name_is_lasting(autojump_clock):
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("other").configure_cert(server)
    authority.configure_trust(client)
    assert is_lasting(await tls_fault(client, server))


def caused(fault, cause):
    fault.__cause__ = cause
    return fault


def tls(reason):
    error = ssl.SSLError(1, f"[SSL: {reason}] told by the library")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (MalformedResponse("no HTTP"), True),
        (ProxyRefusal("407"), True),
        (httpx.ProxyError("502"), False),
        (httpx.LocalProtocolError("a character"), True),
        (httpx.UnsupportedProtocol("ftp"), True),
        (httpx.RemoteProtocolError("the connection was closed"), False),
        (caused(httpx.ConnectError("?"), OSError(111, "Connection refused")), False),
        (caused(httpx.ConnectError("?"), OSError(-2, "Name or service not known")), False),
        (caused(httpx.ConnectError("?"), UnicodeError("label too long")), True),
        (caused(httpx.ConnectError("?"), ssl.SSLCertVerificationError(1, "expired")), True),
        (
            caused(
                httpx.ReadError("?"), caused(trio.BrokenResourceError(), tls("WRONG_VERSION_NUMBER"))
            ),
            True,
        ),
        (caused(httpx.ReadError("?"), tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")), True),
        (caused(httpx.ConnectError("?"), tls("TLSV1_ALERT_PROTOCOL_VERSION")), True),
        (caused(httpx.ConnectError("?"), tls("TLSV1_ALERT_INTERNAL_ERROR")), False),
        (caused(httpx.ReadError("?"), tls("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")), False),
        (caused(httpx.ConnectError("?"), ssl.SSLEOFError(8, "EOF occurred")), False),
        (httpx.ConnectTimeout("slow"), False),
        (httpx.ReadError("reset"), False),
    ],
    ids=repr,
)
def test_which_faults_last(fault, expected):
    assert is_lasting(fault) is expected


def test_a_lasting_fault_speaks_against_the_target():

    assert verdict(LastingFault("a redirect")) is Verdict.NEXT
    assert is_blamed(LastingFault("a redirect"))
    assert verdict(NetworkError("lost")) is Verdict.AGAIN


@pytest.mark.parametrize(("status", "lasts"), [(407, True), (403, True), (502, False), (504, False)])
async def test_a_proxy_that_refuses_lasts_and_one_that_cannot_reach_does_not(
    status, lasts, autojump_clock, monkeypatch
):

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with trio.open_nursery() as nursery:

        async def connect(host, port):
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.memory_stream_pair()
            answer = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
            nursery.start_soon(saying(answer), theirs)
            return ours

        transport = StreamTransport(connect=connect)
        with pytest.raises(httpx.ProxyError) as raised:
            await transport.handle_async_request(httpx.Request("GET", "https://host/"))
        await transport.aclose()
    assert is_lasting(raised.value) is lasts
