"""A client's WebSocket, after the handshake: one task reads messages, another answers them in turn."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from trio_router.errors import ClientStalled
from trio_router.server.request_body import LEAST_RATE, PATIENCE
from trio_router.transport.sockets import BROKEN
from trio_router.wire.websocket import (
    BROKEN_OFF,
    GOING_AWAY,
    NORMAL,
    POLICY,
    TOO_BIG,
    Closing,
    FrameReader,
    Ping,
    close_frame,
    ping_frame,
    pong_frame,
)
from trio_router.wire.written import Written, unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.clock.alarms import Alarm
    from trio_router.server.link import Answer, Answering
    from trio_router.server.request_body import RequestBody
    from trio_router.server.service import Service
    from trio_router.transport.sockets import Wire

logger = logging.getLogger("trio_router")
_AHEAD = 8  # messages that may wait for their turn
_AHEAD_BYTES = 1 << 20  # and their bytes; beyond either no more is read
_IDLE = 3600.0  # s without a message, after which the connection is closed
_GOODBYE = 1.0  # s that the client gets to answer our close


class SocketCarrier(Protocol):
    """The connection that the handshake came in on."""

    wire: Wire
    server: Service


class SocketWriter:
    """See `MessageWriter`.  Control frames go out between the others, whoever writes."""

    def __init__(self, carrier: SocketCarrier) -> None:
        self._carrier = carrier
        self._wire = carrier.wire
        self._lock = trio.Lock()
        self._held = b""  # what the socket did not take
        self._urgent = b""  # a control frame that goes out after it; the latest one is enough
        self.on_moved: Callable[[], None] = unheard
        self.is_answered = True  # the message of this turn: nothing more comes for it

    @property
    def is_free(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._held and not self._lock.locked()

    def send_now(self, frames: bytes) -> Written:
        """Writes what goes without waiting, and holds the rest back.  Only if it `is_free`."""
        try:
            sent = self._wire.send_some(frames)
        except BROKEN:
            return Written.ALL
        self._held = frames[sent:]
        return Written.HELD if self._held else Written.ALL

    def control(self, frame: bytes) -> bool:
        """Sends a control frame without waiting; False if somebody has to `send` it."""
        if not self.is_free:
            self._urgent = frame
            return True
        return self.send_now(frame) is Written.ALL

    async def send(self, frames: bytes = b"") -> None:
        """Writes all, and what is held back.  On cancel closes the connection: half may be sent."""
        async with self._lock:
            data, self._held = self._held + frames, b""
            while data:
                await self._write(data)
                data, self._urgent = self._urgent, b""

    async def _write(self, data: bytes) -> None:
        try:
            sent = self._wire.send_some(data)
            if sent < len(data):
                stall = self._carrier.server.stall
                await self._wire.send_patiently(memoryview(data)[sent:], stall, self.on_moved)
        except BROKEN:
            pass
        except trio.TooSlowError:
            self._wire.close()
            raise ClientStalled from None
        except BaseException:
            self._wire.close()
            raise


class WebSocketConnection:
    """`answer` makes a request of each message; they are answered one after another.

    `new_body` is for the next message, `nursery` the connection's.  The client's leaving, by a close or
    by its connection's end, ends the request that is being answered at once, and drops those that wait.
    """

    def __init__(
        self,
        carrier: SocketCarrier,
        answer: Answer,
        new_body: Callable[[], RequestBody],
        nursery: trio.Nursery,
    ) -> None:
        self._nursery = nursery
        self._server = carrier.server
        self._wire = carrier.wire
        self._answer = answer
        self._new_body = new_body
        self._reader = FrameReader()
        self._writer = SocketWriter(carrier)
        self._body: RequestBody | None = None  # of a message that is not whole yet
        self._came = 0  # bytes of it since the last tick
        self._waiting: deque[RequestBody] = deque()
        self._current: Answering | None = None
        self._code: int | None = None  # what the connection is to be closed with
        self._is_gone = False
        self._changed = trio.Event()
        self._gone = trio.Event()
        self._room: trio.Event | None = None
        self._rested_at = trio.current_time()
        self._alarm: Alarm = carrier.server.alarms.alarm(self._tick)

    # -- the reading task

    def receive(self, data: bytes) -> None:
        for event in self._reader.receive_data(data):
            match event:
                case Ping(payload):
                    self._control(pong_frame(payload))
                case Closing(code):
                    self._left(code)
                case piece:
                    self._take(piece.data, is_last=piece.is_last)

    def _take(self, data: bytes, *, is_last: bool) -> None:
        if self._code is not None:
            return  # the rest of a message that is too big, or what follows a close of ours
        body = self._body
        if body is None:
            body = self._body = self._new_body()
            self._came = 0
        self._came += len(data)
        body.feed(data)
        if is_last or body.is_refused:
            self._body = None
            body.end()
            self._waiting.append(body)
            if not is_last:
                self._code = TOO_BIG
            self._changed.set()

    def lost(self) -> None:
        """The connection has ended, or it is closed by whoever calls."""
        self._is_gone = True
        self._left(NORMAL)
        self._gone.set()

    def _left(self, code: int) -> None:
        """The client has closed: nobody reads an answer any more."""
        if self._code is None:
            self._code = code
        self._waiting.clear()
        self._body = None
        self._gone.set()
        if self._current is not None:
            self._current.client_left()
        self._note_room()
        self._changed.set()

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be read."""
        return len(self._waiting) >= _AHEAD or sum(b.size for b in self._waiting) > _AHEAD_BYTES

    async def wait_room(self) -> None:
        while self.is_full:
            self._room = trio.Event()
            await self._room.wait()
            self._room = None

    def _note_room(self) -> None:
        if self._room is not None:
            self._room.set()

    # -- the answering task

    def end(self) -> None:
        """The server ends: closes now, or behind the messages that have come."""
        if self._code is None:
            self._code = GOING_AWAY
            self._changed.set()

    async def serve(self) -> None:
        """To the connection's end, which it closes."""
        self._alarm.set(trio.current_time() + PATIENCE)
        try:
            while (body := await self._next()) is not None:
                await self._answer_one(body)
            if not self._is_gone:
                with trio.move_on_after(_GOODBYE):
                    await self._writer.send(close_frame(self._code or NORMAL))
                    await self._gone.wait()
        except ClientStalled:
            pass
        finally:
            self._alarm.stop()
            self._wire.close()

    async def _next(self) -> RequestBody | None:
        """The next message; None when there will be none."""
        if self._server.is_ending:
            self.end()
        while not self._waiting and self._code is None:
            self._changed = trio.Event()
            await self._changed.wait()
        if not self._waiting:
            return None
        body = self._waiting.popleft()
        self._note_room()
        return body

    async def _answer_one(self, body: RequestBody) -> None:
        self._writer.is_answered = False
        self._current = self._answer(body, self._writer)
        try:
            await self._current.run()
        except Exception:
            logger.exception("a message failed")
        self._current = None
        if not self._writer.is_answered and self._code is None:
            self._code = BROKEN_OFF  # the client would wait for the rest
        self._rested_at = trio.current_time()

    # -- silence

    def _control(self, frame: bytes) -> None:
        if not self._writer.control(frame):
            self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:
        with suppress(ClientStalled):  # the connection is closed then, which the reading task sees
            await self._writer.send()

    def _tick(self) -> None:
        now = trio.current_time()
        if self._body is not None and self._came < LEAST_RATE * PATIENCE:
            self._code = POLICY  # it sends a message too slowly
        elif self._current is None and now - self._rested_at >= _IDLE:
            self.end()
        elif self._current is None:
            self._control(ping_frame())  # for whatever between the two forgets silent connections
        self._came = 0
        self._changed.set()
        self._alarm.set(now + PATIENCE)
