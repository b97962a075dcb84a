"""How much of a request is taken in before it is its turn and its key was checked."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.connections import post
from tests.serve.command import served
from tests.server.counted import Connected
from tests.stack import chat, memory_stack
from trio_router.api.asgi import RelayConnection
from trio_router.api.reply import Reply
from trio_router.api.table import EndpointRow
from trio_router.demo import Answer, Hang, Send
from trio_router.server.request_body import UNASKED, RequestBody

SSE = [(b"content-type", b"text/event-stream")]
CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}]}\n\n'
BIG = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 33000000\r\n\r\n"


@pytest.mark.parametrize(
    "behind",
    [BIG + b"x" * 3_000_000, post(chat("any/m", "x" * 9000)) * 300],
    ids=["a long body", "many short ones"],
)
async def test_of_requests_whose_turn_has_not_come_64_kib_are_read(nursery, autojump_clock, behind):
    async with memory_stack() as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(CHUNK), Hang()])
        connected = Connected(stack, nursery)
        first = post(chat("any/m", stream=True))
        await connected.client.send_all(first)
        await stack.upstream.wait_open(1)
        await connected.client.send_all(behind)
        await trio.sleep(5)
        assert connected.end.taken - len(first) <= UNASKED
        await connected.client.aclose()


async def test_what_was_left_unread_is_answered_when_its_turn_comes(nursery, autojump_clock):
    async with memory_stack() as stack:
        connected = Connected(stack, nursery)
        slow = post(chat("any/echo-c2-d500", stream=True))
        await connected.client.send_all(slow + post(chat("any/echo", "x" * 300_000)) * 2)
        got = b""
        with trio.fail_after(60):
            while got.count(b'"total_tokens"') < 2:
                got += await connected.client.receive_some()
        assert got.count(b"HTTP/1.1 200 ") == 3
        await connected.client.aclose()


async def test_a_connection_that_closes_after_an_answer_does_not_wait_for_what_is_behind(
    nursery, autojump_clock
):
    async with memory_stack() as stack:
        connected = Connected(stack, nursery)
        last = post(chat("any/echo-c2-d500", stream=True), "x: y").replace(b"HTTP/1.1", b"HTTP/1.0")
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(CHUNK)])  # breaks off
        await connected.client.send_all(last + BIG + b"x" * 300_000)
        with trio.fail_after(60):
            async for _ in connected.client:
                pass


async def slow_and_keyless(asked) -> Reply:
    """An endpoint that takes its time before it knows whose request it is."""
    await trio.sleep(100)
    await asked.authenticate()
    return Reply(200, {}, str(len(await asked.body.read())).encode())


async def test_no_body_is_read_before_its_key_was_checked(nursery, autojump_clock):
    async with memory_stack() as stack:
        stack.app.table.exact["POST", "/slow"] = EndpointRow(slow_and_keyless)
        connected = Connected(stack, nursery)
        head = b"POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n"
        await connected.client.send_all(head + b"x" * 1_000_000)
        await trio.sleep(99)
        assert connected.end.taken <= 2 * UNASKED  # one read more
        with trio.fail_after(60):
            assert (await connected.client.receive_some()).endswith(b"1000000")
        await connected.client.aclose()


async def test_nor_is_it_through_another_server(autojump_clock):
    """What feeds a body over ASGI keeps to the same rules: HTTP/2, and Hypercorn run by the user."""
    fed = 0
    answer = []

    async def receive():
        nonlocal fed
        if fed == 100:
            await trio.sleep_forever()
        fed += 1
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": fed < 100}

    async def send(message) -> None:
        answer.append(message.get("body"))

    scope = {"type": "http", "http_version": "2", "method": "POST", "path": "/slow"}
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope |= {"server": ("127.0.0.1", 1), "extensions": {}, "query_string": b"", "scheme": "http"}
    async with memory_stack() as stack, trio.open_nursery() as nursery:
        stack.app.table.exact["POST", "/slow"] = EndpointRow(slow_and_keyless)
        nursery.start_soon(RelayConnection(stack.app, scope), receive, send)
        await trio.sleep(99)
        assert fed * 10_000 < UNASKED + 10_000
        await trio.sleep(99)
    assert answer[-1] == b"1000000"


@pytest.mark.parametrize("ask", ["read", "next", "discard"])
async def test_a_body_is_full_until_somebody_asks_for_it(ask, autojump_clock):
    body = RequestBody(1 << 20, None, is_streamed=ask == "next")
    body.feed(b"x" * UNASKED)
    assert body.is_full
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.wait_room)
        await trio.sleep(1)
        if ask == "discard":
            body.discard()
        else:
            nursery.start_soon(getattr(body, ask))
        await trio.sleep(1)
        body.end()
    assert not body.is_full


LOGIN = (
    b"POST /dashboard/login HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\n"
    b"content-length: 9\r\n\r\nkey=wrong"
)


def hammer(port: int, data: bytes, times: int, over: threading.Event) -> None:
    """Sends `data` so often, and reads nothing."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(10)  # for all of it
        for _ in range(times):
            sock.sendall(data)
        over.wait()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_sixty_wrong_logins_and_six_connections_without_a_key_take_no_memory(tmp_path):
    settings = tmp_path / "router.yaml"
    auth = {"keys": ["client-key"], "admin_keys": ["admin-key-of-anna"]}
    settings.write_text(json.dumps({"server": {"demo": True}, "auth": auth}))
    with served("--config", str(settings)) as router:
        port = int(router.url.rpartition(":")[2])
        status = Path(f"/proc/{router.process.pid}/status")
        before = peak(status)
        over = threading.Event()
        behind = LOGIN + (BIG + b"x" * 33_000_000) * 7
        threads = [threading.Thread(target=hammer, args=(port, LOGIN, 1, over)) for _ in range(60)]
        threads += [threading.Thread(target=hammer, args=(port, behind, 1, over)) for _ in range(6)]
        for thread in threads[:60]:
            thread.start()
        time.sleep(0.3)  # before the others come
        for thread in threads[60:]:
            thread.start()
        for thread in threads[60:]:
            thread.join(1.5)
        over.set()
        for thread in threads:
            thread.join(10)
        grown = peak(status) - before
    print(f"peak RSS {before} -> {before + grown} MB")
    assert grown < 40


def peak(status: Path) -> int:
    """The most memory the process had so far, in MB."""
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) >> 10
