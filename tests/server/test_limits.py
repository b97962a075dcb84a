"""How many connections there may be, and how long a head and a body may take."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time

import httpx
import pytest
import trio

from tests.connections import connected, everything, post, until
from tests.serve.command import CLEAN
from tests.server.counted import Connected
from tests.stack import chat, memory_stack, real_stack
from trio_router.api.upload import ClientPieces
from trio_router.demo import Answer, Hang, Send
from trio_router.errors import RequestTimeout
from trio_router.server.request_body import RequestBody
from trio_router.server.seats import Seats, connection_limit

SSE = [(b"content-type", b"text/event-stream")]
CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}]}\n\n'
HALF = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx: "
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


# -- time


async def test_a_head_has_thirty_seconds_in_all(nursery, autojump_clock):
    async with memory_stack() as stack:
        client = Connected(stack, nursery).client
        start = trio.current_time()
        await client.send_all(HALF)
        for _ in range(29):
            await trio.sleep(1)
            await client.send_all(b"a")
        answer = await client.receive_some()
        assert trio.current_time() - start == 30
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"request_timeout"' in answer
        await client.aclose()


@pytest.mark.parametrize("idle", [0, 50, 74])
async def test_so_has_the_next_one_whenever_it_begins(nursery, autojump_clock, idle):
    async with memory_stack() as stack:
        client = Connected(stack, nursery).client
        await client.send_all(HEALTH)
        await client.receive_some()
        await trio.sleep(idle)
        await client.send_all(HEALTH[:9])
        await trio.sleep(29)
        await client.send_all(HEALTH[9:])
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
        await client.send_all(HEALTH[:9])
        start = trio.current_time()
        assert (await client.receive_some()).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - start == 30
        await client.aclose()


async def test_a_head_that_has_to_wait_for_its_turn_is_not_late(nursery, autojump_clock):
    async with memory_stack() as stack:
        client = Connected(stack, nursery).client
        await client.send_all(post(chat("any/echo-c3-d20000", stream=True)) + HEALTH[:9])
        got = b""
        with trio.fail_after(200):
            while not got.endswith(b"\r\n0\r\n\r\n"):
                got += await client.receive_some()
        start = trio.current_time()
        assert (await client.receive_some()).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - start == pytest.approx(30)
        await client.aclose()


async def test_an_idle_connection_is_closed_without_a_word(nursery, autojump_clock):
    async with memory_stack() as stack:
        client = Connected(stack, nursery).client
        await client.send_all(HEALTH)
        await client.receive_some()
        start = trio.current_time()
        assert await client.receive_some() == b""
        assert trio.current_time() - start == 75


async def test_a_trickled_upload_is_refused_but_one_that_is_held_back_is_not(autojump_clock):
    body = RequestBody(1 << 30, None, is_streamed=True)
    pieces = ClientPieces(body, 30)
    for _ in range(20):  # the upstream's slowness, not the client's
        body.feed(b"x")
        await anext(pieces)
        await trio.sleep(10)
    async with trio.open_nursery() as nursery:

        async def trickle() -> None:
            while True:
                await trio.sleep(1)
                body.feed(b"x" * 100)

        nursery.start_soon(trickle)
        start = trio.current_time()
        with pytest.raises(RequestTimeout, match="only 60"):
            while True:
                await anext(pieces)
        assert trio.current_time() - start == 60
        nursery.cancel_scope.cancel()


# -- number


@pytest.mark.parametrize(
    ("configured", "descriptors", "limit"),
    [
        (None, 1024, 480),
        (None, 1 << 20, 524_256),
        (None, 64, 24),
        (None, 1, 1),
        (100, 1024, 100),
        (900, 1024, 900),
        (5000, 1024, 960),
        (None, None, 65_536),
        (7, None, 7),
    ],
)
def test_the_limit_leaves_descriptors_for_upstreams(configured, descriptors, limit):
    assert connection_limit(configured, descriptors) == limit


class Sock:
    """Notes that it was shut."""

    def __init__(self) -> None:
        self.is_shut = False

    def shutdown(self, how: int) -> None:
        self.is_shut = True


def test_those_without_a_key_go_first_then_the_longest_idle_and_never_the_busy():
    seats = Seats(4)
    socks = [Sock() for _ in range(9)]
    keyless, idle, idler, busy = [seats.take(sock) for sock in socks[:4]]
    for seat in (idler, idle, busy):
        seat.begin()
    idler.end()
    idle.end()
    for number in range(4, 7):
        taken = seats.take(socks[number])
        taken.begin()
    assert [sock.is_shut for sock in socks] == [True, True, True, *[False] * 6]
    assert seats.take(socks[8]) is None
    seats.leave(busy)
    assert seats.take(socks[8]) is not None
    seats.leave(keyless)  # its tasks have ended now
    idle.begin()  # too late
    idle.end()
    seats.leave(idle)
    assert len(seats) == 4


FEW = "server: {max_connections: 3}\nauth: {keys: [client-key]}"
KEY = "authorization: Bearer client-key"


async def test_half_sent_heads_do_not_keep_a_client_with_a_key_waiting():
    async with real_stack(FEW) as stack:
        halves = [await trio.open_tcp_stream("127.0.0.1", port_of(stack)) for _ in range(20)]
        for half in halves:
            await half.send_all(HALF)
        async with connected(stack) as stream:
            await stream.send_all(post(chat("any/echo"), KEY))
            assert (await until(stream, b"total_tokens")).startswith(b"HTTP/1.1 200 ")
        for half in halves:
            await half.aclose()


def port_of(stack) -> int:
    return int(stack.url.rpartition(":")[2])


async def test_a_stream_with_a_key_is_never_ended_for_others_who_are_told_so():
    async with real_stack(FEW) as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(CHUNK), Hang()])
        streams = [await trio.open_tcp_stream("127.0.0.1", port_of(stack)) for _ in range(3)]
        for stream in streams:
            await stream.send_all(post(chat("any/m", stream=True), KEY))
            await until(stream, b"hi")
        async with connected(stack) as late:
            await late.send_all(HEALTH)
            answer = await everything(late)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in answer
        assert b'"overloaded"' in answer
        await streams.pop().aclose()
        await stack.upstream.wait_closed_early()
        async with connected(stack) as late:
            await late.send_all(HEALTH)
            assert (await until(late, b"ok")).startswith(b"HTTP/1.1 200 ")
        for stream in streams:
            await stream.aclose()


@pytest.mark.slow
def test_six_hundred_half_sent_heads_leave_room_within_three_hundred_descriptors():
    """The soft limit is raised to the hard one, and both are 300 here at most."""
    command = [
        sys.executable,
        "-c",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300));"
        "from trio_router.cli.commands import main; main(['serve', '--port', '0'])",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=CLEAN, stderr=subprocess.DEVNULL
    )
    sockets: list[socket.socket] = []
    try:
        line = process.stdout.readline()
        port = int(line.rsplit(":", 1)[1])
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        assert limits == (300, 300)
        for _ in range(600):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(HALF)
            sockets.append(sock)
        start = time.monotonic()
        body = chat("demo/echo", stream=True)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        waited = time.monotonic() - start
    finally:
        for sock in sockets:
            sock.close()
        process.terminate()
        process.wait(10)
        process.stdout.close()
    print(f"a new client waited {waited:.2f} s")
    assert waited < 3
