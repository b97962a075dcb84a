"""The demo upstream on real sockets, read by httpx."""

from __future__ import annotations

import errno
import signal
import socket
import struct
import subprocess
import sys
from itertools import repeat

import httpx
import pytest
import trio
import trio.testing

from tests.demo.client import Client, chat
from trio_router.testing import Abort, Answer, Close, DemoUpstream, Hang, Send, cut

HELLO = {"stream": True, "messages": [{"role": "user", "content": "hello world 👋"}]}
PATH = "/v1/chat/completions"


@pytest.fixture
def upstream():
    return DemoUpstream()


@pytest.fixture
async def port(nursery, upstream):
    return await nursery.start(upstream.serve)


@pytest.fixture
async def client(port):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield client


async def test_an_answer_comes_through(client, upstream):
    answer = await client.post(PATH, json=HELLO | {"model": "echo-s5"})
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "o 👋" in answer.text or "👋" in answer.text
    assert (upstream.completed, upstream.open_streams, upstream.closed_early) == (1, 0, [])


async def test_a_connection_is_used_again_and_leaving_it_after_the_end_is_no_early_leaving(
    port, upstream
):
    ports = set()
    for _ in range(20):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            for _ in range(3):
                answer = await client.post(PATH, json=HELLO | {"model": "echo"})
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(ports) == 20
    assert (upstream.completed, upstream.closed_early) == (60, [])


async def test_a_reader_that_closes_upon_the_last_event_did_not_leave_early(port, upstream):
    for _ in range(50):
        reader = await Client.connect(port)
        await reader.send(chat("echo"))
        await reader.read_until(b"[DONE]\n\n")
        await reader.leave()
    await upstream.wait_requests(50)
    await upstream.wait_open(0)
    assert (upstream.completed, upstream.closed_early) == (50, [])


@pytest.mark.parametrize("model", ["echo-f60000", "echo-h0", "echo-h2", "echo-d60000"])
async def test_a_reader_that_leaves_is_seen(client, upstream, model):
    with trio.fail_after(5):
        async with trio.open_nursery() as reader:
            reader.start_soon(lambda: client.post(PATH, json=HELLO | {"model": model}))
            await upstream.wait_open(1)
            reader.cancel_scope.cancel()
        await upstream.wait_closed_early()
    assert upstream.closed_early[0].model == model
    assert upstream.open_streams == 0


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_reader_that_leaves_while_the_socket_is_full_is_seen(port, upstream, how):
    upstream.script = lambda request: Answer(steps=repeat(Send(b"x" * 65536)))
    reader = await Client.connect(port)
    await reader.send(chat("m"))
    await reader.read()
    await trio.testing.wait_all_tasks_blocked(0.05)
    sent = upstream.sent_bytes
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert 65536 < upstream.sent_bytes == sent
    if how == "resets":
        reader.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await reader.leave()
    with trio.fail_after(5):
        await upstream.wait_closed_early()


async def test_abort_resets_and_close_does_not(port, upstream):
    async def end_of(step):
        upstream.script = lambda request: Answer(steps=[Send(b"some"), step])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            got = b""
            while data := await stream.receive_some():
                got += bytes(data)
            return got

    assert (await end_of(Close())).endswith(b"4\r\nsome\r\n")
    with pytest.raises(trio.BrokenResourceError) as caught:
        await end_of(Abort())
    assert caught.value.__cause__.errno == errno.ECONNRESET


async def test_the_end_of_the_server_closes_its_connections(upstream):
    async with trio.open_nursery() as nursery:
        port = await nursery.start(upstream.serve)
        upstream.script = lambda request: Answer(steps=[*cut(b"abc", 1), Hang()])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        await upstream.wait_open(1)
        nursery.cancel_scope.cancel()
    async with stream:
        with trio.fail_after(5):
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
    assert upstream.closed_early == []


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_it_runs_by_itself_and_ends_cleanly_on_a_signal(sign):
    command = [sys.executable, "-m", "trio_router.demo", "--port", "0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with trio.fail_after(30):
        async with process.stdout, process.stderr:
            line = bytes(await process.stdout.receive_some()).decode()
            base = line.split()[3]
            async with httpx.AsyncClient() as client:
                answer = await client.post(
                    f"{base}/chat/completions", json=HELLO | {"model": "echo", "stream": False}
                )
            assert answer.json()["choices"][0]["message"]["content"] == "hello world 👋"
            process.send_signal(sign)
            assert await process.wait() == 0
            assert await process.stderr.receive_some() == b""


@pytest.mark.slow
async def test_an_address_that_is_taken_is_a_complaint_and_no_traceback(port):
    command = [sys.executable, "-m", "trio_router.demo", "--port", str(port)]
    ended = await trio.run_process(command, capture_stderr=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"cannot listen on 127.0.0.1:")
    assert b"Traceback" not in ended.stderr
