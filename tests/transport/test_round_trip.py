"""The transport over streams in memory: reuse, faults, limits of time, closing."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing

from tests.transport.peers import (
    OK,
    MemoryNet,
    Pieces,
    RequestReader,
    body_items,
    get,
    items_and_fault,
    post,
    read_request,
)
from trio_router.transport import StreamTransport

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def net():
    return MemoryNet()


@pytest.fixture
def ask(nursery, net):
    """Starts a request; `got` of what it returns has the response or the exception."""

    class Asked:
        got = None

    def start(transport, request):
        asked = Asked()

        async def run():
            try:
                asked.got = await transport.handle_async_request(request)
            except httpx.TransportError as fault:
                asked.got = fault

        nursery.start_soon(run)
        return asked

    return start


settled = trio.testing.wait_all_tasks_blocked


async def answered(transport, net, ask, data, request=None, *, connection=-1):
    asked = ask(transport, request or get())
    await settled()
    await net.streams[connection].send_all(data)
    await settled()
    return asked.got


async def test_the_request_is_sent_and_the_response_has_all_its_parts(net, ask):
    transport = net.transport()
    asked = ask(transport, post(b"hello", "http://server:81/a?b=c"))
    await settled()
    request = await read_request(net.streams[0])
    assert net.asked == [("server", 81)]
    assert (request.method, request.target, request.body) == (b"POST", b"/a?b=c", b"hello")
    assert request.headers[b"host"] == b"server:81"
    await net.streams[0].send_all(b"HTTP/1.1 202 All Right\r\nX-A: b\r\nX-a: c\r\n\r\n")
    await settled()
    response = asked.got
    assert response.status_code == 202
    assert response.headers.raw == [(b"X-A", b"b"), (b"X-a", b"c")]
    assert response.extensions["reason_phrase"] == b"All Right"
    assert response.extensions["http_version"] == b"HTTP/1.1"
    await response.aclose()


async def test_each_read_gives_one_item_of_all_its_body_parts(net, ask):
    transport = net.transport()
    response = await answered(transport, net, ask, STREAM + b"1\r\na\r\n2\r\nbc\r\n")
    server = net.streams[0]
    body = response.stream.__aiter__()
    assert await anext(body) == b"abc"
    await server.send_all(b"1\r\nd\r\n1\r\ne\r\n1\r")
    assert await anext(body) == b"de"
    await server.send_all(b"\nf\r\n0\r\n\r\n")
    assert await anext(body) == b"f"
    assert transport.idle_connections == 1, "free before the end is asked for"
    with pytest.raises(StopAsyncIteration):
        await anext(body)


async def test_bytes_before_an_early_end_are_given_and_then_the_fault(net, ask):
    for head, said in (
        (STREAM + b"5\r\nhello\r\n", "before the end of the body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "before the end of the body"),
        (STREAM + b"5\r\nhello\r\nzz\r\n", "malformed body framing"),
    ):
        transport = net.transport()
        response = await answered(transport, net, ask, head)
        await net.streams[-1].aclose()
        items, fault = await items_and_fault(response)
        assert items == [b"hello"]
        assert isinstance(fault, httpx.RemoteProtocolError)
        assert said in str(fault)
        assert transport.open_connections == 0


async def test_an_end_before_the_head_is_complete_is_a_fault(net, ask):
    for data in (b"", b"HTTP/1.1 200 OK\r\nX:"):
        transport = net.transport()
        asked = ask(transport, get())
        await settled()
        if data:
            await net.streams[-1].send_all(data)
        await net.streams[-1].aclose()
        await settled()
        assert isinstance(asked.got, httpx.RemoteProtocolError)
        assert transport.open_connections == 0


async def test_a_body_without_length_ends_with_the_connection(net, ask):
    response = await answered(net.transport(), net, ask, b"HTTP/1.1 200 OK\r\n\r\nab")
    await net.streams[0].send_all(b"cd")
    await net.streams[0].aclose()
    assert b"".join(await body_items(response)) == b"abcd"


async def test_a_connection_is_used_again_after_a_whole_response(net, ask):
    transport = net.transport()
    for _ in range(3):
        response = await answered(transport, net, ask, OK)
        assert await body_items(response) == [b"ok"]
        await response.aclose()
    assert len(net.streams) == 1
    assert (transport.open_connections, transport.idle_connections) == (1, 1)


async def test_connections_are_not_shared_between_origins(net, ask):
    transport = net.transport()
    for url in ("http://a/", "http://b/", "http://a:81/"):
        await answered(transport, net, ask, OK, get(url))
    assert net.asked == [("a", 80), ("b", 80), ("a", 81)]
    assert transport.idle_connections == 3


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), {}),
        (OK.replace(b"1.1", b"1.0"), {}),
        (OK + b"x", {}),
        (OK, {"Connection": "close"}),
    ],
)
async def test_a_connection_is_closed_when_one_side_wants_it_or_bytes_follow(net, ask, data, headers):
    transport = net.transport()
    request = httpx.Request("GET", "http://server/", headers=headers)
    response = await answered(transport, net, ask, data, request)
    assert await body_items(response) == [b"ok"]
    assert transport.open_connections == 0
    await read_request(net.streams[0])
    assert await net.streams[0].receive_some() == b"", "closed on the wire"


async def test_a_response_left_unread_closes_its_connection_at_once(net, ask):
    transport = net.transport()
    response = await answered(transport, net, ask, STREAM + b"1\r\na\r\n")
    assert transport.open_connections == 1
    await response.aclose()
    assert transport.open_connections == 0
    await read_request(net.streams[0])
    assert await net.streams[0].receive_some() == b""
    with pytest.raises(httpx.StreamClosed):
        await anext(response.stream.__aiter__())


async def test_closing_under_cancel_still_closes(net, ask):
    transport = net.transport()
    response = await answered(transport, net, ask, STREAM)
    with trio.CancelScope() as scope:
        scope.cancel()
        await response.aclose()
    assert transport.open_connections == 0
    await read_request(net.streams[0])
    assert await net.streams[0].receive_some() == b""


async def test_cancelling_a_read_closes_the_connection(net, ask):
    transport = net.transport()
    response = await answered(transport, net, ask, STREAM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body_items, response)
        await settled()
        nursery.cancel_scope.cancel()
    assert transport.open_connections == 0


async def test_a_stale_connection_is_replaced_once_and_the_body_sent_again(net, ask):
    transport = net.transport()
    await answered(transport, net, ask, OK)
    sent = []
    request = post(b"again")
    request.extensions["on_sent"] = lambda: sent.append(len(net.streams))
    asked = ask(transport, request)
    await settled()
    await net.streams[0].aclose()
    await settled()
    assert len(net.streams) == 2
    assert (await read_request(net.streams[1])).body == b"again"
    assert sent == [1, 2]
    assert transport.open_connections == 1
    await net.streams[1].aclose()
    await settled()
    assert isinstance(asked.got, httpx.RemoteProtocolError), "a fresh one is not retried"
    assert len(net.streams) == 2
    assert transport.open_connections == 0


async def test_no_request_is_repeated_once_it_may_have_been_worked_on(net, ask, autojump_clock):
    transport = net.transport()
    await answered(transport, net, ask, OK)
    asked = ask(transport, post(b"costs money"))
    await trio.sleep(5)
    await net.streams[0].aclose()
    await settled()
    assert isinstance(asked.got, httpx.RemoteProtocolError)
    assert len(net.streams) == 1
    assert transport.open_connections == 0


async def test_no_request_is_repeated_once_any_byte_has_come(net, ask):
    transport = net.transport()
    await answered(transport, net, ask, OK)
    asked = ask(transport, get())
    await settled()
    await net.streams[0].send_all(b"H")
    await net.streams[0].aclose()
    await settled()
    assert isinstance(asked.got, httpx.RemoteProtocolError)
    assert len(net.streams) == 1


async def test_a_body_that_comes_in_pieces_is_not_repeated(net, ask):
    async def pieces():
        yield b"a"

    transport = net.transport()
    await answered(transport, net, ask, OK)
    asked = ask(transport, post(pieces()))
    await settled()
    await net.streams[0].aclose()
    await settled()
    assert isinstance(asked.got, httpx.RemoteProtocolError)
    assert len(net.streams) == 1


async def test_idle_connections_expire(net, ask, autojump_clock):
    transport = net.transport(keepalive_expiry=5)
    await answered(transport, net, ask, OK)
    await trio.sleep(6)
    await answered(transport, net, ask, OK)
    assert len(net.streams) == 2
    assert transport.open_connections == 1


async def test_bodies_in_pieces_go_out_in_chunks_or_at_the_given_length(net, ask):
    async def pieces():
        for piece in (b"ab", b"", b"cde"):
            yield piece

    for headers, framing in (({}, b"transfer-encoding"), ({"Content-Length": "5"}, b"content-length")):
        transport = net.transport()
        request = httpx.Request("POST", "http://server/", content=pieces(), headers=headers)
        asked = ask(transport, request)
        await settled()
        seen = await read_request(net.streams[-1])
        assert seen.body == b"abcde"
        assert framing in seen.headers
        await net.streams[-1].send_all(OK)
        await settled()
        assert await body_items(asked.got) == [b"ok"]
        assert transport.idle_connections == 1


@pytest.mark.parametrize("length", ["2", "9"])
async def test_a_body_that_is_not_of_its_announced_length_is_refused(net, length):
    for content in (Pieces(b"ab", b"cde"), b"abcde"):
        transport = net.transport()
        headers = {"Content-Length": length}
        given = {"content": content} if isinstance(content, bytes) else {"stream": content}
        request = httpx.Request("POST", "http://server/", headers=headers, **given)
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(request)
        assert transport.open_connections == 0


async def test_what_the_body_itself_raises_comes_through(net):
    async def pieces():
        yield b"ab"
        raise FileNotFoundError("mine")

    transport = net.transport()
    with pytest.raises(FileNotFoundError, match="mine"):
        await transport.handle_async_request(post(pieces()))
    assert transport.open_connections == 0


async def test_an_early_answer_ends_the_writing(ask):
    net = MemoryNet(lockstep=True)
    transport = net.transport()
    sent = []
    request = post(b"x" * 1_000_000)
    request.extensions["on_sent"] = lambda: sent.append(True)
    asked = ask(transport, request)
    await settled()
    server = net.streams[0]
    await server.receive_some(300_000)
    assert asked.got is None
    await server.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    await settled()
    assert asked.got.status_code == 413
    assert await body_items(asked.got) == [b"big"]
    assert sent == []
    assert transport.open_connections == 0, "half a request is on it"


async def test_an_early_continue_does_not_end_the_writing(ask, nursery):
    net = MemoryNet(lockstep=True)
    asked = ask(net.transport(), post(b"x" * 1_000_000))
    await settled()
    server = net.streams[0]
    reader = RequestReader(server)
    await reader.read_some()
    await server.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert len((await reader.next()).body) == 1_000_000
    await server.send_all(OK)
    await settled()
    assert await body_items(asked.got) == [b"ok"]


async def test_an_early_good_head_does_not_end_the_writing(ask, nursery):
    net = MemoryNet(lockstep=True)
    transport = net.transport()
    asked = ask(transport, post(b"x" * 1_000_000))
    await settled()
    server = net.streams[0]
    reader = RequestReader(server)
    await reader.read_some()
    await server.send_all(STREAM + b"1\r\na\r\n")
    await settled()
    assert asked.got is None
    assert len((await reader.next()).body) == 1_000_000
    await settled()
    nursery.start_soon(server.send_all, b"1\r\nb\r\n0\r\n\r\n")
    assert await body_items(asked.got) == [b"a", b"b"]
    assert transport.idle_connections == 1


class Unwritable(trio.abc.SendStream):
    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("gone")

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize("answer", [OK, b""])
async def test_an_answer_is_returned_although_the_request_could_not_be_written(size, answer):
    async def connect(host, port):
        feed, receive = trio.testing.memory_stream_one_way_pair()
        if answer:
            await feed.send_all(answer)
        feed.close()
        return trio.StapledStream(Unwritable(), receive)

    transport = StreamTransport(connect=connect, trust_env=False)
    for content in (httpx.ByteStream(b"x" * size), Pieces(b"x" * size)):
        request = httpx.Request("POST", "http://server/", stream=content)
        if answer:
            response = await transport.handle_async_request(request)
            assert await body_items(response) == [b"ok"]
        else:
            with pytest.raises((httpx.WriteError, httpx.RemoteProtocolError)):
                await transport.handle_async_request(request)
        assert transport.open_connections == 0


async def test_a_small_request_that_cannot_be_written_is_a_write_error():
    async def connect(host, port):
        await trio.lowlevel.checkpoint()
        feed, receive = trio.testing.memory_stream_one_way_pair()
        feed.close()
        return trio.StapledStream(Unwritable(), receive)

    transport = StreamTransport(connect=connect, trust_env=False)
    with pytest.raises(httpx.WriteError, match="gone"):
        await transport.handle_async_request(post(b"x"))
    assert transport.open_connections == 0


async def test_the_connect_limit(autojump_clock):
    async def never(host, port):
        await trio.sleep_forever()

    net = MemoryNet()
    net.connect = never
    transport = net.transport()
    with trio.testing.assert_checkpoints(), pytest.raises(httpx.ConnectTimeout, match="7 s"):
        await transport.handle_async_request(get(connect=7))
    assert trio.current_time() == pytest.approx(7)
    assert transport.open_connections == 0


async def test_the_read_limit_holds_for_the_head_and_for_each_read(net, ask, autojump_clock):
    transport = net.transport()
    with pytest.raises(httpx.ReadTimeout):
        await transport.handle_async_request(get(read=3))
    assert trio.current_time() == pytest.approx(3)
    asked = ask(transport, get(read=3))
    await settled()
    server = net.streams[-1]
    await server.send_all(STREAM)
    await settled()
    for _ in range(3):
        await trio.sleep(2)
        await server.send_all(b"1\r\na\r\n")
        assert await anext(asked.got.stream) == b"a"
    with pytest.raises(httpx.ReadTimeout):
        await anext(asked.got.stream)
    assert trio.current_time() == pytest.approx(3 + 6 + 3)
    assert transport.open_connections == 0


async def test_without_limits_nothing_times_out(net, ask, autojump_clock):
    asked = ask(net.transport(), get())
    await trio.sleep(80_000)
    assert asked.got is None
    await net.streams[0].send_all(OK)
    await settled()
    assert asked.got.status_code == 200


async def test_the_write_limit(autojump_clock):
    async def pieces():
        yield b"x" * 100

    for content in (b"x" * 100_000, b"x" * 10, pieces()):
        net = MemoryNet(lockstep=True)
        transport = net.transport()
        before = trio.current_time()
        with pytest.raises(httpx.WriteTimeout, match="4 s"):
            await transport.handle_async_request(post(content, write=4))
        assert trio.current_time() - before == pytest.approx(4)
        assert transport.open_connections == 0


async def test_the_pool_limit_and_serving_in_order(net, ask, autojump_clock):
    transport = net.transport(max_connections=1)
    first = await answered(transport, net, ask, STREAM)
    with pytest.raises(httpx.PoolTimeout, match="5 s"):
        await transport.handle_async_request(get(pool=5))
    waiting = []
    for i in range(3):
        waiting.append(ask(transport, get(f"http://server/{i}")))
        await settled()
    assert len(net.streams) == 1
    await first.aclose()
    await settled()
    server = RequestReader(net.streams[1])
    for i in range(3):
        assert (await server.next()).target == b"/%d" % i
        await net.streams[1].send_all(OK)
        await settled()
        assert await body_items(waiting[i].got) == [b"ok"]
    assert len(net.streams) == 2
    assert transport.open_connections == 1


async def test_cancel_while_connecting_gives_the_slot_back(net):
    async def never(host, port):
        await trio.sleep_forever()

    net.connect = never
    transport = net.transport(max_connections=1)
    for _ in range(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.handle_async_request, get())
            await settled()
            assert transport.open_connections == 1
            nursery.cancel_scope.cancel()
        assert transport.open_connections == 0


async def test_a_refused_connection_is_a_connect_error(net):
    async def refuse(host, port):
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError("no one is there")

    net.connect = refuse
    transport = net.transport()
    with pytest.raises(httpx.ConnectError, match=r"server:80: no one is there"):
        await transport.handle_async_request(get())
    assert transport.open_connections == 0


async def test_other_schemes_are_refused(net):
    with pytest.raises(httpx.UnsupportedProtocol):
        await net.transport().handle_async_request(get("ftp://server/"))


async def test_closing_the_transport_ends_what_is_open_and_refuses_what_comes(net, ask):
    transport = net.transport(max_connections=2)
    streaming = await answered(transport, net, ask, STREAM + b"1\r\na\r\n")
    head_pending = ask(transport, get())
    await settled()
    waiting = ask(transport, get())
    await settled()
    await transport.aclose()
    items, fault = await items_and_fault(streaming)
    assert (items, type(fault)) == ([b"a"], httpx.ReadError)
    await settled()
    assert isinstance(head_pending.got, httpx.ReadError)
    assert isinstance(waiting.got, httpx.ConnectError)
    with pytest.raises(httpx.ConnectError, match="closed"):
        await transport.handle_async_request(get())
    assert transport.open_connections == 0
    for server in net.streams:
        await read_request(server)
        assert await server.receive_some() == b""
