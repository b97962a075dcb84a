"""HTTP/2 from clients: Hypercorn's connection, with a limit on how long a write may make no progress.

Hypercorn shields every write without a deadline: a client that stays connected and does not read pins
its task, and with it the whole process at shutdown.  Here a write that is not done in `stall` seconds
closes the connection, and a cancelled write closes it too (a part of it may be out already).

Nor does it bear a body that goes on after its answer is out, or a path that is not ASCII: either ends
the connection with all the streams on it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from h2.exceptions import ProtocolError
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.events import Closed, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from trio_router.server.link import ClientWriteStalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import Event as H2Event
    from hypercorn.events import Event
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

RESET = "trio_router.reset"  # among a request's ASGI extensions
_GOODBYE = 0.2  # s that closing a connection may take
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


class RelayH2Protocol(H2Protocol):
    """Hypercorn's, for whom an event of one stream is not the end of the others."""

    async def _handle_events(self, events: list[H2Event]) -> None:
        for event in events:  # each by itself: what one does may close the stream of the next
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self._discard(event)
            elif isinstance(event, RequestReceived) and not _is_ascii(event):
                self.connection.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            else:
                await super()._handle_events([event])
        await self._flush()

    def _discard(self, late: DataReceived) -> None:
        """The answer was out before the body had come: its room is to be given back all the same."""
        size = late.flow_controlled_length
        if size:
            self.connection.acknowledge_received_data(size, late.stream_id)


def _is_ascii(request: RequestReceived) -> bool:
    fields = request.headers or ()
    return all(value.isascii() for name, value in fields if name in (b":method", b":path"))


class RelayTCPServer(TCPServer):
    """`stall` is in seconds; None is no limit.  What comes in is HTTP/2, and TLS is established."""

    def __init__(self, *args: Any, stall: float | None = None) -> None:
        super().__init__(*args)
        self._stall = math.inf if stall is None else stall

    async def run(self) -> None:
        try:
            await self._serve()
        except* (OSError, ClientWriteStalled):
            pass  # the client has left, or was given up

    async def _serve(self) -> None:
        is_secure = isinstance(self.stream, trio.SSLStream)
        sock = (self.stream.transport_stream if is_secure else self.stream).socket
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            with trio.CancelScope() as serving:
                async with TaskGroup() as task_group:
                    self._task_group = task_group
                    self.protocol = RelayH2Protocol(  # type: ignore[assignment]
                        self.app,
                        self.config,
                        self.context,
                        task_group,
                        ConnectionState(self.state),
                        is_secure,
                        client,
                        server,
                        self.protocol_send,
                    )
                    await self.protocol.initiate()
                    await self.idle_task.restart(task_group, self._idle_timeout)
                    await self._read_data()
                    # The client has left.  Hypercorn would wait for its own idle timer now.
                    serving.cancel()
        finally:
            with trio.move_on_after(_GOODBYE, shield=True):
                await self._close()

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
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            # Busy: it is being closed just now.
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
