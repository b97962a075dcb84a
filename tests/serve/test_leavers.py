"""Clients that leave, by the ten thousand: the memory of the process that served them stays flat."""

from __future__ import annotations

import os
import random
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from tests.connections import CHAT, framed, streamed
from tests.stack import chat
from trio_router.bench.processes import free_port, memory_mib, running

if TYPE_CHECKING:
    from pathlib import Path

LEAVERS = 200_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 20_000
CHECKPOINTS = 10
AT_ONCE = 40
GROWTH = 3.0  # MiB, from the first checkpoint to the last
CONFIG = """
server: {{demo: false}}
providers: {{any: {{base_url: "http://127.0.0.1:{port}/v1"}}}}
routes: {{route: {{targets: [{{model: any/echo-x0}}, {{model: any/echo-h1}}], retry: {{attempts: 0}}}}}}
"""
# What is asked, and what has come when its reader leaves.
KINDS = [
    (streamed("any/echo-h0"), b""),  # before the first event
    (streamed("any/echo-h1"), b"\n\n\r\n"),  # in the stream
    (streamed("any/echo-c300-d1"), b"\n\n\r\n"),
    (streamed("route"), b"\n\n\r\n"),
    (framed(CHAT, chat("any/echo-h0")), b""),  # an answer without streaming
    (streamed("any/echo")[:-9], b""),  # in the request
    (
        framed("/v1/messages", {**chat("any/echo-h1"), "max_tokens": 9, "stream": True}),
        b"\n\n\r\n",
    ),
]


async def leave(port: int, chance: random.Random) -> None:
    request, seen = chance.choice(KINDS)
    with socket.socket() as sock:
        sock.setblocking(False)
        if chance.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client = trio.socket.from_stdlib_socket(sock)
        await client.connect(("127.0.0.1", port))
        await client.send(request)
        got = b""
        while seen and seen not in got:
            data = await client.recv(65536)
            assert data, got
            got += data
        if not seen:
            await trio.sleep(chance.random() * 0.005)
        client.close()


async def memories(process_id: int, port: int, count: int) -> list[float]:
    """The memory in MiB after each tenth of `count` leavers."""
    found = []
    chance = random.Random(7)
    for number in range(CHECKPOINTS):
        left = iter(range(count // CHECKPOINTS))

        async def client(left=left) -> None:
            for _ in left:
                await leave(port, chance)

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(client)
        found.append(memory_mib(process_id) or 0.0)
        print(f"{(number + 1) * count // CHECKPOINTS:7d} left: {found[-1]:6.1f} MiB", flush=True)
    return found


@pytest.mark.slow
def test_memory_is_flat_whoever_leaves(tmp_path: Path):
    upstream, port = free_port(), free_port()
    config = tmp_path / "router.yaml"
    config.write_text(CONFIG.format(port=upstream))
    demo = ("-m", "trio_router.demo", "--port", str(upstream))
    serve = ("-m", "trio_router", "serve", "--config", str(config), "--port", str(port))
    with running(upstream, tmp_path / "upstream.log", *demo):
        with running(port, tmp_path / "router.log", *serve) as process_id:
            print(f"  before: {memory_mib(process_id):6.1f} MiB")
            found = trio.run(memories, process_id, port, LEAVERS)
    assert found[-1] - found[0] < GROWTH, found
