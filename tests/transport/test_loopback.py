"""The transport over real sockets."""

from __future__ import annotations

import random
import socket
import struct

import httpx
import pytest
import trio

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


def reset(stream):
    """Close so that the other side gets a reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def serve_ok(stream):
    async with stream:
        reader = RequestReader(stream)
        while await reader.next():
            await stream.send_all(OK)


@pytest.fixture
async def transport():
    async with StreamTransport(trust_env=False) as transport:
        yield transport


async def test_anyone_can_use_it_through_httpx(transport):
    async def serve(stream):
        async with stream:
            reader = RequestReader(stream)
            while request := await reader.next():
                if request.target == b"/stream":
                    await stream.send_all(CHUNKED)
                    for _ in range(3):
                        await stream.send_all(b"5\r\nline\n\r\n")
                    await stream.send_all(b"0\r\n\r\n")
                else:
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
                    await stream.send_all(head % len(request.body) + request.body)

    async with (
        listening(serve) as port,
        httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/")).text == ""
        assert (await client.post("/", json={"a": 1})).json() == {"a": 1}
        assert (await client.head("/")).status_code == 200
        files = {"file": ("name", b"x" * 200_000)}
        assert len((await client.post("/", files=files)).content) > 200_000
        async with client.stream("GET", "/stream") as response:
            assert [line async for line in response.aiter_lines()] == ["line"] * 3
        assert transport.open_connections == transport.idle_connections == 1


async def test_an_idle_connection_that_the_server_closed_is_not_used(transport):
    connections = []

    async def serve_once(stream):
        connections.append(stream)
        async with stream:
            await read_request(stream)
            await stream.send_all(OK)

    async with listening(serve_once) as port:
        for _ in range(3):
            once = httpx.Request("POST", f"http://127.0.0.1:{port}/", content=iter_once())
            response = await transport.handle_async_request(once)
            assert await body_items(response) == [b"ok"]
            await trio.lowlevel.checkpoint()
            await until(lambda: connections[-1].socket.fileno() < 0)
    assert len(connections) == 3


async def iter_once():
    yield b"not to be repeated"


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await trio.sleep(0.001)


async def test_unasked_bytes_on_an_idle_connection_make_it_useless(transport):
    async def serve(stream):
        async with stream:
            reader = RequestReader(stream)
            while await reader.next():
                await stream.send_all(OK)
                if first_unasked and not unasked.is_set():
                    await release.wait()
                    await stream.send_all(OK.replace(b"ok", b"NO"))
                    unasked.set()

    first_unasked, unasked, release = True, trio.Event(), trio.Event()
    async with listening(serve) as port:
        request = get(f"http://127.0.0.1:{port}/")
        await body_items(await transport.handle_async_request(request))
        assert transport.idle_connections == 1
        release.set()
        await unasked.wait()
        response = await transport.handle_async_request(request)
        assert await body_items(response) == [b"ok"]


async def test_a_connection_reset_while_idle_is_replaced(transport):
    served = []

    async def serve(stream):
        served.append(stream)
        reader = RequestReader(stream)
        await reader.next()
        await stream.send_all(OK)
        if len(served) == 1:
            await reader.next()  # the second request: dropped without a word
            reset(stream)
        await stream.aclose()

    async with listening(serve) as port:
        for _ in range(2):
            response = await transport.handle_async_request(post(b"x", f"http://127.0.0.1:{port}/"))
            assert await body_items(response) == [b"ok"]
    assert len(served) == 2


async def test_a_reset_within_the_body_is_a_read_error_after_what_came(transport):
    async def serve(stream):
        await read_request(stream)
        await stream.send_all(CHUNKED + b"1\r\na\r\n")
        await go_on.wait()
        reset(stream)

    go_on = trio.Event()
    async with listening(serve) as port:
        response = await transport.handle_async_request(get(f"http://127.0.0.1:{port}/"))
        assert await anext(response.stream) == b"a"
        go_on.set()
        items, fault = await items_and_fault(response)
        assert items == []
        assert isinstance(fault, httpx.ReadError)
        assert transport.open_connections == 0


async def test_a_closed_port_is_a_connect_error(transport):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(httpx.ConnectError, match="refused"):
            await transport.handle_async_request(get(f"http://127.0.0.1:{port}/"))
    assert transport.open_connections == 0


async def test_an_unknown_name_is_a_connect_error(transport, monkeypatch):
    async def unknown(*args, **options):
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
    with pytest.raises(httpx.ConnectError, match="Name or service not known"):
        await transport.handle_async_request(get("http://nowhere.invalid/"))
    assert transport.open_connections == 0


@pytest.mark.parametrize("how", ["close", "reset", "stay"])
async def test_an_answer_before_the_request_is_written_is_returned(transport, how):
    size = 30_000_000  # more than the kernel's buffers hold

    async def serve(stream):
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        if how == "close":
            await stream.aclose()  # with unread input: a reset follows
        elif how == "reset":
            await trio.sleep(0.01)
            reset(stream)
        else:
            await trio.sleep_forever()

    async with listening(serve) as port:
        for body in (httpx.ByteStream(b"x" * size), Pieces(*[b"x" * 100_000] * (size // 100_000))):
            with trio.fail_after(20):
                request = httpx.Request("POST", f"http://127.0.0.1:{port}/", stream=body)
                response = await transport.handle_async_request(request)
                assert response.status_code == 413
                assert await body_items(response) == [b"big"]
            assert transport.open_connections == 0


async def test_large_bodies_arrive_whole_and_on_sent_comes_once_after_the_last_byte(transport):
    seen = []

    async def serve(stream):
        async with stream:
            await trio.sleep(0.01)
            seen.append((await read_request(stream)).body)
            await stream.send_all(OK)

    body = random.Random(1).randbytes(20_000_000)
    async with listening(serve) as port:
        sent = []
        request = post(body, f"http://127.0.0.1:{port}/")
        request.extensions["on_sent"] = lambda: sent.append(len(seen))
        await transport.handle_async_request(request)
    assert seen == [body]
    assert len(sent) == 1


async def test_a_fast_upstream_starves_nobody(transport):
    async def serve(stream):
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 1_000_000)

    async with listening(serve) as port:
        response = await transport.handle_async_request(get(f"http://127.0.0.1:{port}/"))
        reads = turns = 0
        async with trio.open_nursery() as nursery:

            async def count():
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            nursery.start_soon(count)
            async for _ in response.stream:
                reads += 1
                if reads == 200:
                    break
            nursery.cancel_scope.cancel()
        assert turns >= 190, "one turn of the others a read"
        await response.aclose()


async def test_closing_the_transport_ends_reads_under_way_and_those_to_come(transport):
    async def serve(stream):
        await read_request(stream)
        await stream.send_all(CHUNKED)
        await trio.sleep_forever()

    faults = []

    async def read(response):
        faults.append((await items_and_fault(response))[1])

    async with listening(serve) as port:
        request = get(f"http://127.0.0.1:{port}/")
        reading = await transport.handle_async_request(request)
        later = await transport.handle_async_request(request)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, reading)
                await trio.sleep(0.01)
                await transport.aclose()
            await read(later)
    assert [type(fault) for fault in faults] == [httpx.ReadError] * 2
    assert transport.open_connections == 0


async def churn(tries, seed, *, concurrency=16, limit=8):
    """Requests cancelled at random points; gives the transport and how many got through."""

    async def serve(stream):
        async with stream:
            reader = RequestReader(stream)
            while await reader.next():
                await stream.send_all(CHUNKED)
                for _ in range(3):
                    await trio.sleep(dice.random() * 0.001)
                    await stream.send_all(b"1\r\nx\r\n")
                await stream.send_all(b"0\r\n\r\n")

    dice = random.Random(seed)
    whole = left = 0
    transport = StreamTransport(trust_env=False, max_connections=limit)

    async def ask(port):
        nonlocal whole, left
        while left > 0:
            left -= 1
            patience = dice.choice([0, 0.0005, 0.002, 0.01, 0.05, 30]) * dice.random()
            with trio.move_on_after(patience):
                body = dice.choice([b"", b"x" * 300_000])
                request = post(body, f"http://127.0.0.1:{port}/")
                response = await transport.handle_async_request(request)
                try:
                    assert b"".join(await body_items(response)) == b"xxx"
                    whole += 1
                finally:
                    await response.aclose()

    async with listening(serve) as port:
        left = tries
        async with trio.open_nursery() as nursery:
            for _ in range(concurrency):
                nursery.start_soon(ask, port)
        assert transport.open_connections == transport.idle_connections
        busy = []
        with trio.fail_after(10):  # every slot can be had
            for _ in range(limit):
                request = get(f"http://127.0.0.1:{port}/", pool=5)
                busy.append(await transport.handle_async_request(request))
        assert transport.open_connections == limit
        for response in busy:
            await response.aclose()
        await transport.aclose()
        assert transport.open_connections == 0
    return whole


def check_churn(tries, seed):
    before = open_files()
    whole = trio.run(churn, tries, seed)
    assert 0 < whole < tries, "some were cut off, some were not"
    assert open_files() == before


@pytest.mark.parametrize("seed", range(2))
def test_cancel_at_any_point_loses_no_slot_and_no_file(seed):
    check_churn(250, seed)


@pytest.mark.slow
def test_ten_thousand_cancels_lose_no_slot_and_no_file():
    check_churn(10_000, 7)
