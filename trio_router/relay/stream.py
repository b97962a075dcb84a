"""A stream on its way to the client: the channel between the upstream's task and the client's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import trio

from trio_router.routing.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.clock.alarms import Alarm, AlarmClock
    from trio_router.config.routes import DrainConfig
    from trio_router.errors import RouterError
    from trio_router.relay.call import Call, Translator
    from trio_router.relay.exchange import Exchange
    from trio_router.routing.table import Target

    WriteNow = Callable[[bytes], bytes | None]

_JOIN = 65536  # bytes: frames that wait already go out in one write, up to about this


class StreamReply(Protocol):
    """A stream that has begun, as the client's side takes it."""

    is_torn: bool  # it has ended badly, and nothing that could follow would say so
    tail: bytes  # what follows the frames once they end: the error event of a bad end, or nothing

    async def next(self, write_now: WriteNow) -> bytes | None:
        """Finished frames, all that wait joined; None at the end.

        While it waits for some, those that come are given to `write_now`, which says what it left
        (`None` for nothing): a scheduler's pass is saved, and nothing can be overtaken.
        """


class StreamRun:
    """A stream on its way: the channel between the upstream's task and the client's."""

    is_torn = False

    def __init__(self, exchange: Exchange, asked: Target | Route, call: Call) -> None:
        self._exchange = exchange
        self.asked = asked
        self.call = call
        self.has_begun = False  # an event of an answer has come
        self.is_draining = False
        self.begun = trio.Event()  # the first event is there, or it is known that none will be
        self.error: RouterError | None = None  # why there will be none
        self._is_promised = False  # the client has a status
        self._is_whole = False  # it has been given a good end
        self._translator: Translator | None = None  # whose frames go out
        self._has_ended = False
        self.tail = b""
        buffer = exchange.router.config.stream.buffer
        self._send, self._frames = trio.open_memory_channel[bytes](buffer)
        self._write_now: WriteNow | None = None
        self._record = exchange.record
        self._taken = 0  # bytes that the client's side is writing
        self._keepalive = math.inf
        self._alarm: Alarm | None = None

    @property
    def drain(self) -> DrainConfig | None:
        """How the upstream may go on when the client has left; None if it may not."""
        if isinstance(self.asked, Route) and self.asked.policy.on_disconnect is not None:
            return self.asked.policy.on_disconnect.drain
        return None

    async def move(self) -> None:
        try:
            with self._send:
                try:
                    await self._exchange.move_stream(self)
                finally:
                    self._has_ended = True
                self.begun.set()
        finally:
            if self.is_draining:
                self._exchange.router.drains -= 1
            self._exchange.stream_ended()

    def leave(self) -> None:
        """The client is gone: the upstream may come to its end, if there are not too many of these."""
        router, limits = self._exchange.router, self.drain
        if self.has_begun and not self._has_ended and limits and router.drains < limits.max:
            self.is_draining = True
            router.drains += 1
            self._exchange.drain_within(limits.seconds)

    def discard(self) -> None:
        """Nobody reads any more: what waits is dropped, and who waits for room goes on."""
        self._frames.close()

    def fail(self, error: RouterError) -> None:
        """Before the commit `error` becomes the answer's status, after it the stream's last event.

        What goes wrong after a good end is not told.
        """
        if self._is_whole:
            return
        if self._is_promised:
            self._exchange.failed(error)
            self.tail = (self._translator or self.call).fail(error)
        else:
            self.error = error

    def bridge_silence(self, alarms: AlarmClock, keepalive: float) -> Alarm:
        """A comment to the client after each `keepalive` seconds without an event."""
        self._keepalive = keepalive
        self._alarm = alarms.alarm(self._comment)
        self._postpone()
        return self._alarm

    def _comment(self) -> None:
        # Only to a client that waits: if frames wait, it is the client who is silent.
        if self._write_now is not None and not self._has_ended:
            self.put_nowait(self.call.keepalive)
        self._postpone()

    def _postpone(self) -> None:
        if self._alarm is not None:
            self._alarm.set(trio.current_time() + self._keepalive)

    # -- the attempt's Sink

    def begin(self, translator: Translator) -> None:
        self._translator = translator

    def commit(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            if not (isinstance(self.asked, Route) and self.asked.keeps_request):
                self.call.forget()
            self.promise()

    def promise(self) -> None:
        self._is_promised = True
        self.begun.set()

    def put_nowait(self, frames: bytes) -> bool:
        if self.is_draining:
            return True
        if self._write_now is not None:
            left = self._write_now(frames)
            if left is None:
                self._postpone()
                return True
            self._write_now = None
            frames = left
        try:
            self._send.send_nowait(frames)
        except trio.WouldBlock:
            return False
        self._record.bytes_waiting += len(frames)
        self._postpone()
        return True

    async def put(self, frames: bytes) -> None:
        self._record.bytes_waiting += len(frames)
        try:
            await self._send.send(frames)
        except trio.BrokenResourceError:
            if not self.is_draining:
                raise
        self._postpone()

    def end(self) -> None:
        self._is_whole = True

    # -- the client's StreamReply

    async def next(self, write_now: WriteNow) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        self._record.bytes_waiting -= self._taken
        self._taken = 0
        try:
            while size < _JOIN:
                parts.append(self._frames.receive_nowait())
                size += len(parts[-1])
        except (trio.EndOfChannel, trio.WouldBlock):
            pass
        if parts:
            self._taken = size
            return b"".join(parts)
        self._write_now = write_now
        try:
            frames = await self._frames.receive()
            self._taken = len(frames)
            return frames
        except trio.EndOfChannel:
            return None
        finally:
            self._write_now = None
