"""Listening sockets, and accepting connections on them."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("trio_router")
_BACKLOG = 4096  # connections that may wait to be accepted
_AT_ONCE = 4  # connections accepted before other tasks get their turn
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.1  # s until the next try when no descriptor is left for a connection


class Turn(Protocol):
    """Decides which process accepts next, when several share a socket."""

    async def wait(self) -> None:
        """Returns when this process may accept one connection."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of `host`.  Raises OSError, with none left open."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, proto)
            bound.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


def url_of(listener: socket.socket, scheme: str) -> str:
    """The URL under which clients reach `listener`."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def accept_from(
    listener: socket.socket,
    handle: Callable[[socket.socket], Awaitable[None]],
    nursery: trio.Nursery,
    turn: Turn | None = None,
) -> None:
    """Starts `handle` in `nursery` for each connection, until it is cancelled.

    If no descriptor is left for a connection, it waits until others have ended.
    """
    at_once = _AT_ONCE if turn is None else 1
    while True:
        await trio.lowlevel.wait_readable(listener)
        if turn is not None:
            await turn.wait()
        for _ in range(at_once):
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                break
            except OSError as fault:
                if fault.errno in _FULL:
                    logger.error("cannot accept", extra={"fields": {"reason": str(fault)}})
                    await trio.sleep(_PAUSE)
                break  # or the client has left already
            accepted.setblocking(False)
            with suppress(OSError):  # some systems report here that the client has left already
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            nursery.start_soon(handle, accepted)
