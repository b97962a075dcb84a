"""A stream on its way to the client: the channel between the upstream's task and the client's."""

from __future__ import annotations

import math
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_router.clock.alarms import Alarm, AlarmClock
    from trio_router.errors import RouterError
    from trio_router.observe.record import RequestRecord
    from trio_router.relay.call import Call, Translator

    WriteNow = Callable[[bytes], bytes | None]

_JOIN = 65536  # bytes: waiting frames are joined into one write, up to about this many


class StreamReply(Protocol):
    """A stream that has begun, as the client's side reads it."""

    is_torn: bool  # it broke off, and its format has no way to say so
    tail: bytes  # sent after the last frame: the error event of a failed stream, or nothing

    async def next(self, write_now: WriteNow) -> bytes | None:
        """All waiting frames, joined; None at the end.

        While it waits, the upstream's task passes new frames straight to `write_now`, which returns
        what it did not write (None: nothing is left).  That saves a pass of the scheduler.  Frames keep
        their order, because the channel is empty then.
        """


class State(Enum):
    """How far a stream is.  It passes these states in order, and may skip some."""

    OPENING = 0  # no answer yet, and no status sent
    PROMISED = 1  # the client has a status (an early commit); no event has come
    FLOWING = 2  # an event of an answer has come, and the client has a status
    DRAINING = 3  # the client has left; what still comes is counted and dropped
    ENDED = 4  # nothing more will come


class StreamRun:
    """A stream on its way: the channel between the upstream's task and the client's.

    `buffer` is the number of items that may wait.  With `keeps_request` the request may be asked again
    after its answer has begun.
    """

    is_torn = False

    def __init__(
        self, record: RequestRecord, call: Call, buffer: int, *, keeps_request: bool = False
    ) -> None:
        self.call = call
        self.begun = trio.Event()  # the first event has come, or none will
        self.error: RouterError | None = None  # why none will
        self.is_whole = False  # the client has got a good end
        self._translator: Translator | None = None  # whose frames go out
        self.tail = b""
        self.is_draining = False  # stays true once set, unlike the state
        self._state = State.OPENING
        self._keeps_request = keeps_request
        self._send, self._frames = trio.open_memory_channel[bytes](buffer)
        self._write_now: WriteNow | None = None
        self._record = record
        self._taken = 0  # bytes that the client's task took and is writing
        self._keepalive = math.inf
        self._alarm: Alarm | None = None

    @property
    def has_begun(self) -> bool:
        """An event of an answer has come."""
        return self._state.value >= State.FLOWING.value

    @property
    def is_flowing(self) -> bool:
        return self._state is State.FLOWING

    @property
    def is_promised(self) -> bool:
        """The client has a status."""
        return self._state is not State.OPENING

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Entered by the upstream's task, and left when nothing more will come."""
        with self._send:
            try:
                yield
            finally:
                self._state = State.ENDED
            self.begun.set()

    def drain(self) -> None:
        """The client has left, and the upstream may finish."""
        self.is_draining = True
        self._state = State.DRAINING

    def discard(self) -> None:
        """Nobody reads any more: drops what waits, and wakes the task that waits for room."""
        self._frames.close()

    def fail(self, error: RouterError) -> None:
        """Ends the stream: before the commit with the status of `error`, later with an error event.

        After a good end the client is told nothing more.
        """
        if self.is_whole:
            return
        if self.is_promised:
            self.tail = (self._translator or self.call).fail(error)
        else:
            self.error = error

    def bridge_silence(self, alarms: AlarmClock, keepalive: float) -> Alarm:
        """Sends the client a comment after each `keepalive` seconds without an event."""
        self._keepalive = keepalive
        self._alarm = alarms.alarm(self._comment)
        self._postpone()
        return self._alarm

    def _comment(self) -> None:
        # Only if the client's task is waiting: if frames wait, the client is the slow one.
        if self._write_now is not None and self._state is not State.ENDED:
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
            self._state = State.FLOWING
            if not self._keeps_request:
                self.call.forget()
            self.begun.set()

    def promise(self) -> None:
        """The client gets its status now, whether an event has come or not."""
        if self._state is State.OPENING:
            self._state = State.PROMISED
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
        self.is_whole = True

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
