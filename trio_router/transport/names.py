"""Opens a TCP connection to a host name, to the first address that answers (RFC 8305).

trio has this too, but there each address that fails leaves a reference cycle, which holds the tasks
that waited for it: one for each connection to `localhost` if nobody listens on `::1`, and one for each
connection to a host with both kinds of addresses from a machine that has only IPv4.
"""

from __future__ import annotations

import socket
from typing import Any

import trio

_HEAD_START = 0.25  # s after which the next address is tried too

Address = tuple[Any, Any, int, str, Any]  # an item of getaddrinfo's result


async def open_named(host: str, port: int) -> trio.SocketStream:
    """Raises OSError, caused by a group of all failures.  On cancel nothing stays open."""
    addresses = in_turn(await _addresses(host, port))
    race = _Race()
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(race.run, address, failed, nursery.cancel_scope)
                with trio.move_on_after(_HEAD_START):
                    await failed.wait()
        return race.result(host, port)
    except BaseException:
        race.close()
        raise


def in_turn(found: list[Address]) -> list[Address]:
    """The addresses in their order, except that the second one has another family if there is one."""
    for place, address in enumerate(found):
        if address[0] != found[0][0]:
            return [found[0], address, *found[1:place], *found[place + 1 :]]
    return found


async def _addresses(host: str, port: int) -> list[Address]:
    try:
        return list(await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as fault:
        fault.__traceback__ = None  # its frames, of the thread and of the waiting task, hold it
        raise


class _Race:
    """The first connection that succeeds, or the reasons why none did."""

    def __init__(self) -> None:
        self._winner: trio.socket.SocketType | None = None
        self._faults: list[OSError] = []  # without their tracebacks, which would hold us

    async def run(self, address: Address, failed: trio.Event, others: trio.CancelScope) -> None:
        family, kind, protocol, _, place = address
        sock: trio.socket.SocketType | None = None
        try:
            sock = trio.socket.socket(family, kind, protocol)
            await sock.connect(place)
            if self._winner is None:
                self._winner, sock = sock, None
                others.cancel()
        except OSError as fault:
            self._faults.append(fault.with_traceback(None))
            failed.set()
        finally:
            if sock is not None:
                sock.close()

    def result(self, host: str, port: int) -> trio.SocketStream:
        if self._winner is None:
            group = ExceptionGroup("no address answered", self._faults) if self._faults else None
            raise OSError(f"all attempts to connect to {host}:{port} failed") from group
        return trio.SocketStream(self._winner)

    def close(self) -> None:
        if self._winner is not None:
            self._winner.close()
