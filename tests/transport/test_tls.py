"""https: certificates, reuse, ends without goodbye."""

from __future__ import annotations

import ssl

import httpx
import pytest
import trio
import trio.testing
import trustme

from tests.transport.peers import (
    OK,
    Pieces,
    RequestReader,
    body_items,
    get,
    items_and_fault,
    listening,
    open_files,
    post,
    read_request,
)
from trio_router.transport import StreamTransport

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secured(server_context):
    def wrap(handler):
        async def serve(stream):
            secure = trio.SSLStream(stream, server_context, server_side=True, https_compatible=True)
            await handler(secure)

        return listening(serve)

    return wrap


async def serve_ok(stream):
    reader = RequestReader(stream)
    while await reader.next():
        await stream.send_all(OK)


async def test_a_connection_over_tls_is_used_again(secured, trusting):
    async with (
        secured(serve_ok) as port,
        StreamTransport(ssl_context=trusting, trust_env=False) as transport,
        httpx.AsyncClient(transport=transport, base_url=f"https://localhost:{port}") as client,
    ):
        for _ in range(3):
            assert (await client.post("/", content=b"x" * 300_000)).content == b"ok"
        assert (transport.open_connections, transport.idle_connections) == (1, 1)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_certificate_nobody_vouches_for_is_a_connect_error(secured, name):
    async with secured(serve_ok) as port, StreamTransport(trust_env=False) as transport:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await transport.handle_async_request(get(f"https://{name}:{port}/"))
        assert transport.open_connections == 0


async def test_a_certificate_of_another_host_is_a_connect_error(secured, trusting, monkeypatch):
    async with secured(serve_ok) as port:

        async def connect(host, _):
            return await trio.open_tcp_stream("127.0.0.1", port)

        async with StreamTransport(ssl_context=trusting, connect=connect) as transport:
            with pytest.raises(httpx.ConnectError, match=r"example\.org"):
                await transport.handle_async_request(get("https://example.org/"))


@pytest.mark.parametrize("with_proxies", [True, False])
async def test_ssl_cert_file_is_obeyed(secured, authority, monkeypatch, tmp_path, with_proxies):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with secured(serve_ok) as port:
        request = get(f"https://localhost:{port}/")
        async with StreamTransport(trust_env=with_proxies) as transport:
            assert await body_items(await transport.handle_async_request(request)) == [b"ok"]


async def test_plain_http_on_the_other_side_is_a_connect_error(trusting):
    async def serve(stream):
        await stream.receive_some(1)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with (
        listening(serve) as port,
        StreamTransport(ssl_context=trusting, trust_env=False) as transport,
    ):
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(get(f"https://localhost:{port}/"))


async def test_the_handshake_is_within_the_connect_limit(trusting, autojump_clock):
    streams = []

    async def connect(host, port):
        await trio.sleep(2)
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(theirs)
        return ours

    transport = StreamTransport(ssl_context=trusting, connect=connect, trust_env=False)
    with pytest.raises(httpx.ConnectTimeout):
        await transport.handle_async_request(get("https://localhost/", connect=5))
    assert trio.current_time() == pytest.approx(5)
    assert transport.open_connections == 0
    await streams[0].receive_some()
    assert await streams[0].receive_some() == b"", "closed on the wire"


async def test_cancel_within_the_handshake_and_the_body_closes_the_socket(secured, trusting):
    async def mute(stream):
        await trio.sleep_forever()

    async def endless(stream):
        await read_request(stream)
        await stream.send_all(CHUNKED)
        await stream.receive_some(1)
        gone.set()

    gone = trio.Event()
    async with listening(mute) as mute_port, secured(endless) as port:
        before = open_files()
        async with StreamTransport(ssl_context=trusting, trust_env=False) as transport:
            for _ in range(3):
                with trio.move_on_after(0.02):
                    await transport.handle_async_request(get(f"https://localhost:{mute_port}/"))
                assert transport.open_connections == 0
            response = await transport.handle_async_request(get(f"https://localhost:{port}/"))
            with trio.move_on_after(0.01):
                await body_items(response)
            assert transport.open_connections == 0
            with trio.fail_after(5):
                await gone.wait()
        del response
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert open_files() <= before + 3, "only the mute server's ends are left"


async def test_a_body_cut_short_is_a_fault_after_what_came(secured, trusting):
    async def serve(stream):
        await read_request(stream)
        await stream.send_all(CHUNKED + b"1\r\na\r\n")
        stream.transport_stream.socket.close()

    async with (
        secured(serve) as port,
        StreamTransport(ssl_context=trusting, trust_env=False) as transport,
    ):
        response = await transport.handle_async_request(get(f"https://localhost:{port}/"))
        items, fault = await items_and_fault(response)
        assert items == [b"a"]
        assert isinstance(fault, httpx.RemoteProtocolError)
        assert transport.open_connections == 0


async def test_a_stale_connection_over_tls_is_replaced(secured, trusting):
    served = []

    async def serve_once(stream):
        served.append(stream)
        await read_request(stream)
        await stream.send_all(OK)
        stream.transport_stream.socket.close()

    async with (
        secured(serve_once) as port,
        StreamTransport(ssl_context=trusting, trust_env=False) as transport,
    ):
        for _ in range(3):
            response = await transport.handle_async_request(post(b"x", f"https://localhost:{port}/"))
            assert await body_items(response) == [b"ok"]
    assert len(served) == 3


async def test_an_idle_connection_that_the_server_closed_is_not_used(secured, trusting):
    sockets = []

    async def serve_once(stream):
        await read_request(stream)
        await stream.send_all(OK)
        sockets.append(stream.transport_stream.socket)
        sockets[-1].close()

    async with (
        secured(serve_once) as port,
        StreamTransport(ssl_context=trusting, trust_env=False) as transport,
    ):
        for i in range(3):
            once = httpx.Request("POST", f"https://localhost:{port}/", stream=Pieces(b"once"))
            response = await transport.handle_async_request(once)
            assert await body_items(response) == [b"ok"]
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(sockets) == i + 1


async def test_an_early_answer_over_tls_is_whole(secured, trusting):
    async def serve(stream):
        await stream.receive_some(1000)
        head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 60000\r\n\r\n"
        await stream.send_all(head)
        await stream.send_all(b"y" * 60_000)
        await trio.sleep_forever()

    async with (
        secured(serve) as port,
        StreamTransport(ssl_context=trusting, trust_env=False) as transport,
    ):
        url = f"https://localhost:{port}/"
        for body in (httpx.ByteStream(b"x" * 30_000_000), Pieces(*[b"x" * 100_000] * 300)):
            request = httpx.Request("POST", url, stream=body)
            with trio.fail_after(20):
                response = await transport.handle_async_request(request)
                assert response.status_code == 413
                assert b"".join(await body_items(response)) == b"y" * 60_000
            assert transport.open_connections == 0
