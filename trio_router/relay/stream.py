"""A stream on its way to the client: the channel between the upstream's task and the client's."""

from __future__ import annotations

import math
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import trio

from trio_router.wire.written import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_router.clock.alarms import Alarm, AlarmClock
    from trio_router.errors import RouterError
    from trio_router.observe.record import RequestRecord
    from trio_router.relay.call import StreamCall, Translator

    WriteNow = Callable[[bytes], Written]
    OnMoved = Callable[[], None]

_JOIN = 65536  # bytes: waiting frames are joined into one write, up to about this many


class StreamReply(Protocol):
    """A stream that has begun, as the client's side reads it."""

    tail: bytes  # what follows the frames once they end: the error event of a bad end, or nothing

    @property
    def is_torn(self) -> bool:
        """Whether it ended badly in a way that no further frame could tell."""
        ...

    async def next(self, write_now: WriteNow) -> bytes | None:
        """All waiting frames, joined; None at the end.

        While it waits, the upstream's task may pass new frames straight to `write_now`, which saves a
        pass of the scheduler.  The caller writes nothing until `next` has returned.
        """

    def moved(self) -> None:
        """The client has taken a part of what is being written to it."""


class StreamState(Enum):
    """How far an answer is.  It passes these states in order, and may skip some."""

    OPENING = "opening"  # no answer yet, and no status sent
    PROMISED = "promised"  # the client has a status (an early commit); no event has come
    FLOWING = "flowing"  # an event of an answer has come, and the client has a status
    WHOLE = "whole"  # the client has been given a good end; the upstream's connection may go on
    ENDED = "ended"  # nothing more will come


_ALL, _HELD = Written.ALL, Written.HELD
_FLOWING, _WHOLE, _ENDED = StreamState.FLOWING, StreamState.WHOLE, StreamState.ENDED


class StreamRun:
    """A stream on its way: the channel between the upstream's task and the client's.

    Frames go to the client in the order in which they are put, whichever of two ways they take: the
    channel, or `write_now` past it.  This rests on one invariant: `_write_now` is set only while the
    client's task waits in `next`, the channel is empty, and all that it ever held has been written.

    - `next` sets it right after it found the channel empty, with no checkpoint between, and unsets it
      before it returns: frames that the client's task still has to write are never passed.
    - `put_nowait` unsets it before it uses the channel: what follows queues up behind.
    - `put`, which waits, is called only after `put_nowait` found no room, which it never does while
      `next` waits.

    `buffer` is the number of items that may wait.  With `keeps_request` the request may be asked again
    after its answer has begun.
    """

    is_torn = False

    def __init__(
        self, record: RequestRecord, call: StreamCall, buffer: int, *, keeps_request: bool = False
    ) -> None:
        self.call = call
        self.begun = trio.Event()  # the first event is there, or it is known that none will be
        self.error: RouterError | None = None  # why there will be none
        self._translator: Translator | None = None  # whose frames go out
        self.tail = b""
        self.is_draining = False  # the client has left: what comes is counted and dropped
        self._state = StreamState.OPENING
        self._keeps_request = keeps_request
        self._send, self._frames = trio.open_memory_channel[bytes](buffer)
        self._write_now: WriteNow | None = None
        self._record = record
        self._taken = 0  # bytes that the client's task took and is writing
        self._keepalive = math.inf
        self._alarm: Alarm | None = None
        self._on_moved: OnMoved | None = None  # of who waits for room

    @property
    def has_begun(self) -> bool:
        """Whether an event of an answer has come."""
        return self._state is _FLOWING or self._state is _WHOLE

    @property
    def is_whole(self) -> bool:
        """Whether the client has been given a good end."""
        return self._state is _WHOLE

    @property
    def is_promised(self) -> bool:
        """Whether the client has a status."""
        return self._state is not StreamState.OPENING

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Entered by the upstream's task, and left when nothing more will come."""
        with self._send:
            try:
                yield
            finally:
                self._state = _ENDED
            self.begun.set()

    def drain(self) -> None:
        """The client has left, and the upstream may finish."""
        self.is_draining = True

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
        # Only to a client that waits: if frames wait, it is the client who is silent.
        if self._write_now is not None and self._state is not _WHOLE and self._state is not _ENDED:
            self.put_nowait(self.call.keepalive)
        self._postpone()

    def _postpone(self) -> None:
        if self._alarm is not None:
            self._alarm.set(trio.current_time() + self._keepalive)

    # -- the pump's Sink

    def begin(self, translator: Translator) -> None:
        self._translator = translator

    def commit(self) -> None:
        if self._state is not _FLOWING and not self.has_begun:
            self._state = _FLOWING
            if not self._keeps_request:
                self.call.forget()
            self.begun.set()

    def promise(self) -> None:
        """Notes that the client is given a status now, whether an event has come or not."""
        if self._state is StreamState.OPENING:
            self._state = StreamState.PROMISED
        self.begun.set()

    def put_nowait(self, frames: bytes) -> bool:
        if self.is_draining:
            return True
        if self._write_now is not None:
            written = self._write_now(frames)
            if written is _ALL:
                self._postpone()
                return True
            self._write_now = None  # before anything waits in the channel
            if written is _HELD:
                frames = b""  # the client's task only has to write what the link holds back
        try:
            self._send.send_nowait(frames)
        except trio.WouldBlock:
            return False
        self._record.bytes_waiting += len(frames)
        self._postpone()
        return True

    async def put(self, frames: bytes, moved: OnMoved) -> None:
        self._record.bytes_waiting += len(frames)
        self._on_moved = moved
        try:
            await self._send.send(frames)
        except trio.BrokenResourceError:
            if not self.is_draining:
                raise
        finally:
            self._on_moved = None
        self._postpone()

    def end(self) -> None:
        self._state = _WHOLE

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
        self._write_now = write_now  # the channel is empty, and the caller waits from here on
        try:
            frames = await self._frames.receive()
            self._taken = len(frames)
            return frames
        except trio.EndOfChannel:
            return None
        finally:
            self._write_now = None

    def moved(self) -> None:
        if self._on_moved is not None:
            self._on_moved()
