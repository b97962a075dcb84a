"""Clients that stall, dribble, leave, send too much or name models strangely: who pays for it."""

from __future__ import annotations

import json
import logging
from urllib.parse import unquote

import pytest
import trio

from tests.booked import Booked
from tests.connections import connected, everything, post, until
from tests.stack import ServerStream, chat, memory_stack, real_stack
from trio_router.observe.record import Outcome
from trio_router.serve.serving import http_server
from trio_router.server.accept import accept_from, bind
from trio_router.server.connections import HttpServer
from trio_router.transport.sockets import StreamWire

NAMES = ["модель", "é", "a b", "100%", "...", "a..b", "x/y:z", "👋🏽", "echo"]
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("name", NAMES)
async def test_whatever_a_model_is_called_its_answer_goes_out(name, is_stream):
    async with memory_stack() as stack:
        body = json.dumps(chat(f"any/{name}", stream=is_stream))
        response = await stack.client.post("/v1/chat/completions", content=body)
    assert response.status_code == (200 if name == "echo" else 404)
    told = response.headers["x-trio-router-target"]
    assert told.isascii()
    assert told.isprintable()
    assert " " not in told
    assert unquote(told) == f"any/{name}".encode(errors="replace").decode()
    assert "x-evil" not in response.headers


async def test_an_endless_model_name_is_refused_and_not_kept():
    async with memory_stack() as stack:
        for provider in ("any", "unknown"):
            response = await stack.ask(chat(f"{provider}/{'x' * 1_000_000}"))
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "model_not_found"
            assert len(response.content) < 1000
        assert not stack.upstream.requests


async def test_a_body_whose_framing_breaks_gets_one_answer_and_the_end():
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(CHUNKED + b"3\r\nabc\r\nzz\r\n" + GET)
        got = await everything(stream)
    assert got.count(b"HTTP/1.1 ") == got.count(b"HTTP/1.1 400 ") == 1
    assert b"connection: close\r\n" in got


async def test_a_client_behind_many_requests_sent_ahead_is_seen_leaving():
    async with real_stack() as stack:
        booked = Booked(stack.router)
        async with connected(stack) as stream:
            await stream.send_all(post(chat("any/echo-h1", stream=True)))
            await until(stream, b"data: ")
            await stream.send_all(GET * 100)
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
            assert (await booked.next()).outcome == Outcome.CLIENT_GONE


async def test_a_client_that_ends_its_sending_side_has_left():
    async with real_stack() as stack:
        booked = Booked(stack.router)
        async with connected(stack) as stream:
            await stream.send_all(post(chat("any/echo-h1", stream=True)))
            await until(stream, b"data: ")
            await stream.send_eof()
            with trio.fail_after(5):
                await stack.upstream.wait_closed_early()
                assert (await booked.next()).outcome == Outcome.CLIENT_GONE


async def test_of_many_requests_sent_ahead_the_first_are_answered_and_the_last_of_them_says_so():
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(GET * 100)
        got = await everything(stream)
    *heads, last = got.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert 4 <= len(heads) < 20
    assert b"connection: close\r\n" in last
    assert not any(b"connection: close\r\n" in head for head in heads)


@pytest.mark.parametrize("first", [b"PRI * HT", b"P"])
async def test_http2_is_known_however_its_preface_is_cut(first):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    async with real_stack() as stack, connected(stack) as stream:
        await stream.send_all(first)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_all(preface[len(first) :])
        assert (await until(stream, b"\0"))[3] == 4  # a SETTINGS frame


async def test_a_connections_fault_ends_no_other_connection(monkeypatch, caplog):
    async def fail(self, sock):
        raise ExceptionGroup("torn", [RuntimeError("a bug")])

    async with real_stack() as stack:
        with monkeypatch.context() as patch:
            patch.setattr(HttpServer, "_handle_plain", fail)
            async with connected(stack) as stream:
                assert await everything(stream) == b""
        assert (await stack.client.get("/healthz")).status_code == 200
    assert "a connection failed" in caplog.text


async def test_a_connection_that_is_dead_when_it_is_accepted_ends_no_other():
    class Dead:
        def setblocking(self, flag):
            pass

        def setsockopt(self, *_):
            raise OSError(22, "Invalid argument")

    class Listener:
        def __init__(self, listener):
            self.fileno = listener.fileno
            self._accept = listener.accept

        def accept(self):
            accepted, address = self._accept()
            accepted.close()
            return Dead(), address

    (listener,) = bind("127.0.0.1", 0)
    handled = trio.Event()

    async def handle(sock) -> None:
        handled.set()

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_from, Listener(listener), handle, nursery)
            with trio.fail_after(5):
                client = await trio.open_tcp_stream(*listener.getsockname())
                await handled.wait()
            await client.aclose()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("sent", "until"), [(0, 60), (100, 60), (40_000, 120)])
async def test_a_body_that_does_not_come_is_not_waited_for_longer_than_a_minute(
    sent, until, autojump_clock
):
    async with memory_stack() as stack:
        stream = await stack.connect()
        start = trio.current_time()
        head, _, body = post(chat("any/echo", "long" * 20_000)).partition(b"\r\n\r\n")
        await stream.send_all(head + b"\r\n\r\n")
        await trio.sleep(50)  # slow, but not silent
        await stream.send_all(body[:sent])
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - start == until
        assert not stack.upstream.requests


async def test_a_slow_body_that_goes_on_coming_is_waited_for(autojump_clock):
    async with memory_stack() as stack:
        stream = await stack.connect()
        for byte in post(chat("any/echo")):
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.3 if byte in b"{}" else 0)
        long = post(chat("any/echo", "long" * 50_000))
        for start in range(0, len(long), 30_000):
            await stream.send_all(long[start : start + 30_000])
            await trio.sleep(45)
        got = b""
        while got.count(b"HTTP/1.1 200 ") < 2:
            got += await stream.receive_some()


class Served:
    """A connection in memory whose server's end tells when it is left."""

    def __init__(self, stack, nursery, wrap=ServerStream) -> None:
        self.client, theirs = trio.testing.memory_stream_pair()
        self.ended_at = None
        self.wire = StreamWire(wrap(theirs))
        self._server = http_server(stack.router, stack.app)
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        first = await self.wire.receive()
        await self._server.handle_http1(self.wire, "127.0.0.1", first)
        self.ended_at = trio.current_time()


async def test_a_closing_connection_ends_as_soon_as_its_client_has_ended_it(nursery, autojump_clock):
    async with memory_stack() as stack:
        served = Served(stack, nursery)
        start = trio.current_time()
        await served.client.send_all(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        async for _ in served.client:
            pass
        await served.client.aclose()
        await trio.sleep(10)
    assert served.ended_at == start


class OneWay(trio.abc.Stream):
    """What cannot be half closed, as TLS cannot."""

    def __init__(self, stream) -> None:
        self._stream = stream
        self.send_all = stream.send_all
        self.receive_some = stream.receive_some
        self.wait_send_all_might_not_block = stream.wait_send_all_might_not_block
        self.aclose = stream.aclose

    async def send_all(self, data): ...
    async def receive_some(self, max_bytes=None): ...
    async def wait_send_all_might_not_block(self): ...
    async def aclose(self): ...


async def test_a_client_that_waits_for_the_end_of_a_tls_connection_gets_it_at_once(
    nursery, autojump_clock
):
    async with memory_stack() as stack:
        served = Served(stack, nursery, OneWay)
        start = trio.current_time()
        await served.client.send_all(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        async for _ in served.client:
            pass
        assert trio.current_time() == start


async def test_a_refused_client_that_goes_on_sending_can_still_read_why(nursery, autojump_clock):
    async with memory_stack("server: {max_body: 1000}") as stack:
        served = Served(stack, nursery)
        head = CHUNKED.replace(b"transfer-encoding: chunked", b"content-length: 1000000")
        await served.client.send_all(head)
        for _ in range(40):  # 20 s
            await served.client.send_all(b"x" * 1000)
            await trio.sleep(0.5)
        assert (await served.client.receive_some()).startswith(b"HTTP/1.1 413 ")
        start = trio.current_time()
        await trio.sleep(100)
        assert served.ended_at - start < 3


async def test_a_client_that_does_not_read_that_it_may_send_is_no_fault_of_ours(caplog, autojump_clock):
    async with memory_stack(tight=True) as stack:
        booked = Booked(stack.router)
        stream = await stack.connect()
        head = post(chat("any/echo"), "expect: 100-continue").partition(b"\r\n\r\n")[0]
        await stream.send_all(head + b"\r\n\r\n")
        await trio.sleep(100)
        assert (await booked._receive.receive()).outcome == Outcome.CLIENT_STALLED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_a_stream_has_counted_is_booked_though_its_client_leaves():
    async with real_stack() as stack:
        counts = []
        stack.router.engine.consumers = [lambda record: counts.append(record.chunks_processed)]
        for number in range(1, 21):
            async with connected(stack) as stream:
                await stream.send_all(post(chat("any/echo-c3-h3", stream=True)))
                await until(stream, b"token2")
            with trio.fail_after(5):
                while len(counts) < number:
                    await trio.testing.wait_all_tasks_blocked()
    assert min(counts) >= 3


async def test_a_slow_reader_behind_tls_has_its_time_for_each_piece(autojump_clock):
    class Slow(trio.abc.SendStream):
        taken = 0

        async def send_all(self, data):
            await trio.sleep(20 * len(data) / 65536)
            self.taken += len(data)

        async def wait_send_all_might_not_block(self): ...
        async def aclose(self): ...

    slow = Slow()
    await StreamWire(slow).send_patiently(b"x" * 300_000, 30)
    assert slow.taken == 300_000
