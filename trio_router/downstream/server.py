"""Hypercorn's connection, with a limit on how long a write may make no progress.

Hypercorn shields every write without a deadline: a client that stays connected and does not read pins
its task, and with it the whole process at shutdown.  Here a write that moves no byte for `stall`
seconds closes the connection, and a cancelled write closes it too (a part of it may be out already).
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.events import Closed, RawData
from hypercorn.trio.tcp_server import TCPServer

if TYPE_CHECKING:
    from hypercorn.events import Event


class ClientWriteStalled(Exception):
    """A write to the client made no progress within the limit."""


class RelayTCPServer(TCPServer):
    """`stall` is in seconds; None is no limit."""

    def __init__(self, *args: Any, stall: float | None = None) -> None:
        super().__init__(*args)
        self._stall = math.inf if stall is None else stall

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        if not event.data:
            return
        try:
            async with self.send_lock:
                await self._write(event.data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())
        except BaseException:
            # Stalled or cancelled: the stream is torn in mid-write, nothing more can be said on it.
            await trio.aclose_forcefully(self.stream)
            raise

    async def _write(self, data: bytes) -> None:
        stream = self.stream
        if not isinstance(stream, trio.SocketStream):
            with trio.move_on_after(self._stall) as limit:
                await stream.send_all(data)
            if limit.cancelled_caught:
                raise ClientWriteStalled
            return
        rest = memoryview(data)
        while rest:
            rest = rest[await self._send_some(stream.socket, rest) :]

    async def _send_some(self, sock: trio.socket.SocketType, data: memoryview) -> int:
        while True:
            try:
                # Not `sock.send`: that costs a pass of the scheduler even if there is room, and who
                # calls us has waited for the data just now.
                return os.write(sock.fileno(), data)
            except BlockingIOError:
                with trio.move_on_after(self._stall) as limit:
                    await trio.lowlevel.wait_writable(sock)
                if limit.cancelled_caught:
                    raise ClientWriteStalled from None
            except OSError as fault:
                raise trio.BrokenResourceError from fault
