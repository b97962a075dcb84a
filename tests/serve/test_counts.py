"""What a chunk and a request cost, in counts that are the same on every machine.

A regression in time hides in a machine's noise; one in scheduler passes or system calls does not.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from tests.connections import post
from tests.stack import chat, real_stack
from trio_router.transport.sockets import SocketWire

if TYPE_CHECKING:
    import pytest

CHUNKS = 100
# The router's own tasks, by the coroutine that each runs; the rest is the upstream and the client.
READER, ANSWERER, PUMP = "HttpServer.handle", "Http1Connection._answer_all", "Exchange._run_stream"


class Steps(trio.abc.Instrument):
    """Counts the scheduler's passes of the router's tasks."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.begun[self._kind(task)] += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[self._kind(task)] += 1

    def _kind(self, task: trio.lowlevel.Task) -> str:
        return task.coro.__qualname__


class Calls:
    """Counts the writes and reads of the router's server and transport.

    The test's own client and upstream use trio's streams, which these do not count.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count: Counter[str] = Counter()
        for name in ("send_some", "receive", "send_patiently", "send"):
            monkeypatch.setattr(SocketWire, name, self._counted(name, getattr(SocketWire, name)))

    def _counted(self, name, method):
        def counted(*words):
            self.count[name] += 1
            return method(*words)

        return counted


async def read_answer(stream: trio.SocketStream, mark: bytes) -> int:
    """Reads up to `mark`; the number of reads it took."""
    got = b""
    reads = 0
    with trio.fail_after(20):
        while mark not in got:
            got += await stream.receive_some()
            reads += 1
    return reads


async def test_a_chunk_costs_one_pass_one_read_and_one_write(monkeypatch):
    async with real_stack() as stack:
        stream = await trio.open_tcp_stream("127.0.0.1", int(stack.url.rpartition(":")[2]))
        async with stream:
            request = post(chat(f"any/echo-c{CHUNKS}-d2", stream=True))
            await stream.send_all(request)  # once before, so that connections are there
            await read_answer(stream, b"0\r\n\r\n")
            steps, calls = Steps(), Calls(monkeypatch)
            trio.lowlevel.add_instrument(steps)
            await stream.send_all(request)
            await read_answer(stream, b"0\r\n\r\n")
            trio.lowlevel.remove_instrument(steps)
    few = 12  # of the beginning and the end
    assert steps.of[PUMP] <= CHUNKS + few
    assert steps.of[ANSWERER] <= few
    assert steps.of[READER] <= few
    assert calls.count["send_some"] <= CHUNKS + few
    assert calls.count["receive"] <= CHUNKS + few
    assert calls.count["send"] + calls.count["send_patiently"] == 0
    assert {kind for kind in steps.begun if kind in (READER, ANSWERER, PUMP)} == {PUMP}


async def test_chunks_that_come_together_go_out_together(monkeypatch):
    async with real_stack() as stack:
        stream = await trio.open_tcp_stream("127.0.0.1", int(stack.url.rpartition(":")[2]))
        async with stream:
            calls = Calls(monkeypatch)
            text = "x" * 8000  # a body of one write: 2,000 chunks of four characters
            await stream.send_all(post(chat("any/echo-s1000000", text, stream=True)))
            await read_answer(stream, b"0\r\n\r\n")
    assert 0 < calls.count["send_some"] < 100


async def test_a_plain_request_costs_no_task_and_a_handful_of_passes(monkeypatch):
    requests = 20
    async with real_stack() as stack:
        stream = await trio.open_tcp_stream("127.0.0.1", int(stack.url.rpartition(":")[2]))
        async with stream:
            request = post(chat("any/echo"))
            await stream.send_all(request)
            await read_answer(stream, b"total_tokens")
            steps, calls = Steps(), Calls(monkeypatch)
            trio.lowlevel.add_instrument(steps)
            for _ in range(requests):
                await stream.send_all(request)
                await read_answer(stream, b"total_tokens")
            trio.lowlevel.remove_instrument(steps)
    assert not steps.begun  # one task answers all requests of a connection
    ours = steps.of[READER] + steps.of[ANSWERER]
    assert ours <= 5 * requests
    assert calls.count["send_some"] <= 2 * requests  # one to the upstream, one to the client
    assert calls.count["receive"] <= 3 * requests
