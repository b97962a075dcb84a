"""HTTP/2 from clients: Hypercorn's connection, with a limit on how long a write may make no progress.

Hypercorn shields every write without a deadline: a client that stays connected and does not read pins
its task, and with it the whole process at shutdown.  Here a write that is not done in `stall` seconds
closes the connection, and a cancelled write closes it too (a part of it may be out already).
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.events import Closed, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer

from trio_router.downstream.link import ClientWriteStalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.events import Event
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

RESET = "trio_router.reset"  # among a request's ASGI extensions
PREFACE = b"PRI * HTTP/2.0\r\n"


class Http2App(ASGIWrapper):
    """Gives each request a way to reset its stream, which ASGI has no word for (RFC 9113, 5.4.2).

    Without it a client would wait for ever for the rest of an answer that broke off.
    """

    async def __call__(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        stream = getattr(send, "__self__", None)
        if isinstance(stream, HTTPStream) and scope["type"] == "http":
            scope["extensions"][RESET] = {"call": partial(_reset, stream)}
        await super().__call__(scope, receive, send, sync_spawn, call_soon)


async def _reset(stream: HTTPStream) -> None:
    protocol = getattr(stream.send, "__self__", None)
    if isinstance(protocol, H2Protocol):
        with suppress(ProtocolError):
            protocol.connection.reset_stream(stream.stream_id, ErrorCodes.INTERNAL_ERROR)
        await protocol._flush()


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
