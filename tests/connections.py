"""Raw connections to the router, what is written to them, and what comes back."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.stack import chat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CHAT = "/v1/chat/completions"


def framed(path: str, body: object, *headers: str, method: str = "POST") -> bytes:
    """A request with `body` as it is, or as JSON; `headers` are lines."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = (
        () if any("content-type" in line for line in headers) else ("content-type: application/json",)
    )
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(data)}"]
    return "\r\n".join([*lines, *kind, *headers, "", ""]).encode() + data


def post(body: dict[str, Any], *headers: str) -> bytes:
    """A chat request."""
    return framed(CHAT, body, *headers)


def streamed(model: str, **fields: Any) -> bytes:
    """A chat request whose answer is a stream."""
    return post(chat(model, stream=True, **fields))


async def raw_client(stack: Any) -> trio.SocketStream:
    """A connection to a stack on real sockets; the caller closes it."""
    return await trio.open_tcp_stream("127.0.0.1", int(stack.url.rpartition(":")[2]))


@asynccontextmanager
async def connected(stack: Any) -> AsyncIterator[trio.SocketStream]:
    async with await raw_client(stack) as stream:
        yield stream


def leave(connection: trio.SocketStream, how: str) -> None:
    """Closes the connection: in order, or with a TCP reset if `how` is "reset"."""
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.socket.close()


async def until_still(count: Callable[[], int]) -> None:
    """Until the upstream can write no more: everything between it and the client is full."""
    with trio.fail_after(20):
        last = -1
        while count() != last or not last:
            last = count()
            await trio.testing.wait_all_tasks_blocked(0.05)


async def everything(stream: trio.abc.ReceiveStream, within: float = 10) -> bytes:
    """What comes until the server closes, `within` seconds at the latest."""
    got = b""
    with trio.fail_after(within):
        async for data in stream:
            got += data
    return got


async def until(stream: trio.abc.ReceiveStream, mark: bytes, within: float = 10) -> bytes:
    """What comes, up to the first read that brings `mark`, `within` seconds at the latest."""
    got = b""
    with trio.fail_after(within):
        while mark not in got:
            data = await stream.receive_some()
            assert data, got
            got += data
    return got
