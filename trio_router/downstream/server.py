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
from hypercorn.typing import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.events import Event
    from hypercorn.trio.task_group import TaskGroup
    from hypercorn.trio.worker_context import WorkerContext


WRITE_CHUNK = "trio_router.write_chunk"


class ClientWriteStalled(Exception):
    """A write to the client made no progress within the limit."""


class _IdleTimer:
    """Closes an idle connection in time: one task a connection whose deadline moves.

    Hypercorn starts a task after each response and cancels it at the next request.
    """

    def __init__(self, context: WorkerContext, limit: float) -> None:
        self._context = context
        self._limit = limit
        self._scope: trio.CancelScope | None = None
        self._is_idle = False

    async def restart(self, task_group: TaskGroup, close: Callable[[], Awaitable[None]]) -> None:
        self._is_idle = True
        deadline = trio.current_time() + self._limit
        if self._scope is None:
            self._scope = trio.CancelScope(deadline=deadline)
            task_group.spawn(self._watch, self._scope, close)
        else:
            self._scope.deadline = deadline
        if self._context.terminated.is_set():
            self._scope.cancel()

    async def stop(self) -> None:
        self._is_idle = False
        if self._scope is not None:
            self._scope.deadline = math.inf

    async def _watch(self, scope: trio.CancelScope, close: Callable[[], Awaitable[None]]) -> None:
        with scope:
            await self._context.terminated.wait()
            if not self._is_idle:
                await trio.sleep_forever()  # until the response's end, or the connection's
        await close()


class RelayTCPServer(TCPServer):
    """`stall` is in seconds; None is no limit.

    An HTTP/1.1 application finds `write_chunk` in its scope's state, under WRITE_CHUNK.
    """

    def __init__(self, *args: Any, stall: float | None = None) -> None:
        super().__init__(*args)
        self._stall = math.inf if stall is None else stall
        self.idle_task = _IdleTimer(self.context, self.config.keep_alive_timeout)  # type: ignore[assignment]
        self.state = ConnectionState({**self.state, WRITE_CHUNK: self.write_chunk})

    async def write_chunk(self, data: bytes) -> None:
        """Writes a chunk of a body whose transfer coding is chunked, past Hypercorn and h11.

        Neither keeps account of what a chunked body has had, so the last chunk can go through them
        as ever.  To be called only between a response's start and its end.  Raises
        ClientWriteStalled; a client that is gone is noticed by the reading side.
        """
        await self._write_or_close(b"%x\r\n%b\r\n" % (len(data), data))

    async def _idle_timeout(self) -> None:
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        if event.data:
            await self._write_or_close(event.data)

    async def _write_or_close(self, data: bytes) -> None:
        try:
            rest = self._written_at_once(data)
            if rest:
                async with self.send_lock:
                    await self._write(rest)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())
        except BaseException:
            # Stalled or cancelled: the stream is torn in mid-write, nothing more can be said on it.
            await trio.aclose_forcefully(self.stream)
            raise

    def _written_at_once(self, data: bytes) -> bytes | memoryview:
        """Writes what the socket takes now; gives back the rest.

        Waiting for the lock, or `SocketStream.send_all`, costs a pass of the scheduler even where
        there is room, and who calls us has waited for the data just now.
        """
        if self.send_lock.locked() or not isinstance(self.stream, trio.SocketStream):
            return data
        try:
            sent = os.write(self.stream.socket.fileno(), data)
        except BlockingIOError:
            return data
        except OSError as fault:
            raise trio.BrokenResourceError from fault
        return b"" if sent == len(data) else memoryview(data)[sent:]

    async def _write(self, data: bytes | memoryview) -> None:
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
        try:
            with trio.move_on_after(self._stall) as limit:
                return await sock.send(data)
        except OSError as fault:
            raise trio.BrokenResourceError from fault
        assert limit.cancelled_caught
        raise ClientWriteStalled
