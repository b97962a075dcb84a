"""HTTP/2 from clients: Hypercorn's connection, with a limit on how long a write may make no progress.

Hypercorn shields every write without a deadline: a client that stays connected and does not read pins
its task, and with it the whole process at shutdown.  Here a write that is not done in `stall` seconds
closes the connection, and a cancelled write closes it too (a part of it may be out already).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.events import Closed, RawData
from hypercorn.trio.tcp_server import TCPServer

from trio_router.downstream.link import ClientWriteStalled

if TYPE_CHECKING:
    from hypercorn.events import Event

PREFACE = b"PRI * HTTP/2.0\r\n"


class RelayTCPServer(TCPServer):
    """`stall` is in seconds; None is no limit."""

    def __init__(self, *args: Any, stall: float | None = None) -> None:
        super().__init__(*args)
        self._stall = math.inf if stall is None else stall

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        try:
            async with self.send_lock:
                with trio.move_on_after(self._stall) as limit:
                    await self.stream.send_all(event.data)
                if limit.cancelled_caught:
                    raise ClientWriteStalled
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())
        except BaseException:
            # Stalled or cancelled: the stream is torn in mid-write, nothing more can be said on it.
            await trio.aclose_forcefully(self.stream)
            raise


class Replayed(trio.abc.HalfCloseableStream):
    """A stream some of whose input was read already, to learn which protocol it is."""

    def __init__(self, stream: trio.SocketStream, read: bytes) -> None:
        self._stream = stream
        self._read = read

    @property
    def socket(self) -> trio.socket.SocketType:
        return self._stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._read:
            await trio.lowlevel.checkpoint()
            read, self._read = self._read, b""
            return read
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
