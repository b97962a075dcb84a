"""Proxies: which one, and how it is spoken to."""

from __future__ import annotations

import ssl

import httptools
import httpx
import pytest
import trio
import trustme

from tests.transport.peers import (
    OK,
    MemoryNet,
    RequestReader,
    body_items,
    get,
    listening,
    read_request,
)
from trio_router.transport import StreamTransport
from trio_router.transport.proxy import Proxy, ProxyTable

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


class HttpProxy:
    """A small proxy: answers what is in absolute form itself, opens what CONNECT asks for."""

    def __init__(self, answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
        self.requests = []
        self._answer = answer

    async def __call__(self, stream):
        reader = RequestReader(stream)
        while request := await self.first(reader, stream):
            self.requests.append(request)
            await stream.send_all(OK)

    async def first(self, reader, stream):
        try:
            request = await reader.next()
        except httptools.HttpParserUpgrade:
            request = reader.latest
            self.requests.append(request)
            await stream.send_all(self._answer)
            if b" 200 " in self._answer:
                await self.tunnel(stream, request.target.decode())
            return None
        return request

    async def tunnel(self, stream, target):
        host, _, port = target.rpartition(":")
        other = await trio.open_tcp_stream(host.strip("[]"), int(port))
        async with other, trio.open_nursery() as nursery:
            nursery.start_soon(self.copy, stream, other)
            nursery.start_soon(self.copy, other, stream)

    async def copy(self, source, target):
        async for data in source:
            await target.send_all(data)
        await target.send_eof()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_plain_requests_go_to_the_proxy_in_absolute_form(environment, variable):
    if variable == "HTTP_PROXY":
        environment.delenv("REQUEST_METHOD", raising=False)
    proxy = HttpProxy()
    async with listening(proxy) as port:
        environment.setenv(variable, f"http://user:p%40ss@127.0.0.1:{port}")
        async with StreamTransport() as transport:
            for _ in range(2):
                response = await transport.handle_async_request(get("http://far.invalid:81/a?b"))
                assert await body_items(response) == [b"ok"]
            assert transport.idle_connections == 1
    seen = proxy.requests[0]
    assert seen.target == b"http://far.invalid:81/a?b"
    assert seen.headers[b"host"] == b"far.invalid:81"
    assert seen.headers[b"proxy-authorization"] == b"Basic dXNlcjpwQHNz"
    assert len(proxy.requests) == 2


async def test_secure_requests_go_through_a_tunnel(environment):
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    seen = []

    async def serve(stream):
        secure = trio.SSLStream(stream, server_context, server_side=True, https_compatible=True)
        seen.append(await read_request(secure))
        await secure.send_all(OK)

    proxy = HttpProxy()
    async with listening(serve) as port, listening(proxy) as proxy_port:
        environment.setenv("HTTPS_PROXY", f"user:pass@127.0.0.1:{proxy_port}")
        async with StreamTransport(ssl_context=context) as transport:
            response = await transport.handle_async_request(get(f"https://localhost:{port}/a"))
            assert await body_items(response) == [b"ok"]
    (connect,) = proxy.requests
    assert (connect.method, connect.target) == (b"CONNECT", f"localhost:{port}".encode())
    assert connect.headers[b"proxy-authorization"] == b"Basic dXNlcjpwYXNz"
    assert seen[0].target == b"/a"
    assert b"proxy-authorization" not in seen[0].headers, "the origin must not see it"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n", "407 Who Are You"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nsorr", "502"),
        (b"nonsense\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "data after its answer"),
    ],
)
async def test_a_proxy_that_refuses_is_a_proxy_error(environment, answer, said):
    environment.setenv("ALL_PROXY", "http://proxy:3128")
    net = MemoryNet()
    transport = StreamTransport(connect=net.connect)

    async def refuse():
        await trio.testing.wait_all_tasks_blocked()
        await net.streams[0].send_all(answer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(httpx.ProxyError, match=said):
            await transport.handle_async_request(get("https://far.invalid/"))
    assert net.asked == [("proxy", 3128)]
    assert transport.open_connections == 0


async def test_the_tunnel_is_within_the_connect_limit(environment, autojump_clock):
    environment.setenv("ALL_PROXY", "http://proxy:3128")
    transport = StreamTransport(connect=MemoryNet().connect)
    with pytest.raises(httpx.ConnectTimeout, match=r"far\.invalid:443 through proxy:3128"):
        await transport.handle_async_request(get("https://far.invalid/", connect=3))
    assert trio.current_time() == pytest.approx(3)
    assert transport.open_connections == 0


async def test_the_environment_is_left_alone_when_told_so(environment):
    environment.setenv("ALL_PROXY", "http://proxy:3128")
    net = MemoryNet()
    with trio.move_on_after(0.01):
        await net.transport().handle_async_request(get("http://far.invalid/"))
    assert net.asked == [("far.invalid", 80)]


async def test_a_proxy_of_an_unknown_kind_is_refused_and_not_passed_by(environment):
    environment.setenv("ALL_PROXY", "socks5://proxy:1080")
    net = MemoryNet()
    transport = StreamTransport(connect=net.connect)
    with pytest.raises(httpx.UnsupportedProtocol, match="socks5"):
        await transport.handle_async_request(get("http://far.invalid/"))
    assert net.asked == []


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "direct"),
    [
        ("*", "a.example", 80, True),
        ("example", "a.example", 80, True),
        (".example", "a.example", 80, True),
        ("*.example", "a.example", 80, True),
        ("ample", "a.example", 80, False),
        ("A.Example", "a.example", 80, True),
        ("b, a.example ,c", "a.example", 80, True),
        ("a.example:8080", "a.example", 80, False),
        ("a.example:8080", "a.example", 8080, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("fe80::/10", "fe80::1", 80, True),
        ("http://a.example", "a.example", 80, True),
        ("", "a.example", 80, False),
        (",", "a.example", 80, False),
    ],
)
def test_no_proxy(exceptions, host, port, direct):
    table = ProxyTable({"http": "http://proxy:1", "no": exceptions})
    assert (table.proxy_for("http", host, port) is None) == direct


def test_the_scheme_picks_the_proxy():
    table = ProxyTable({"http": "h:1", "https": "http://s", "all": "https://x"})
    assert table.proxy_for("http", "a", 80) == Proxy("h", 1)
    assert table.proxy_for("https", "a", 443) == Proxy("s", 80)
    only = ProxyTable({"all": "https://x", "https": ""})
    assert only.proxy_for("https", "a", 443) == Proxy("x", 443, secure=True)
    assert ProxyTable({}).proxy_for("http", "a", 80) is None


@pytest.mark.parametrize(
    "url", ["http://user:secret#x@proxy:80", "http://proxy:secret", "socks5://u:secret@h"]
)
def test_a_proxy_that_cannot_be_used_is_refused_without_its_secrets(url):
    with pytest.raises(httpx.UnsupportedProtocol) as refused:
        Proxy.from_url(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
