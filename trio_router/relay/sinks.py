"""Where the attempts of a route put their frames: at once to the client, or held until the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trio_router.errors import EventTooLarge
from trio_router.wire.written import unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.relay.call import Translator

    OnFirst = Callable[[Translator], None]
    OnMoved = Callable[[], None]


class Sink(Protocol):
    """Where a stream's frames go."""

    def begin(self, translator: Translator) -> None:
        """The frames to come are those of `translator`, which can also end them with an error."""

    def commit(self) -> None:
        """The first event with content is here: the client is promised an answer."""

    def put_nowait(self, frames: bytes) -> bool:
        """Hands frames over; False if there is no room."""

    async def put(self, frames: bytes, moved: OnMoved) -> None:
        """Waits for room, and hands frames over; `moved` is called when the client takes something."""

    def end(self) -> None:
        """The whole answer has been handed over: no error can follow it."""


class Stream(Sink, Protocol):
    """The client's stream."""

    is_draining: bool  # the client has left; the upstream may only finish

    @property
    def has_begun(self) -> bool:
        """Whether an event of an answer has been sent."""
        ...


class RouteSink(Sink, Protocol):
    """The sink of one attempt of a route."""

    has_answered: bool  # the first event has come

    async def release(self) -> None:
        """Sends what was held back: the answer is complete and good."""


class PassingSink:
    """Hands frames over at once.  `on_first` is called at the first event, and may raise."""

    _translator: Translator

    def __init__(self, stream: Stream, on_first: OnFirst) -> None:
        self.has_answered = False
        self._stream = stream
        self._on_first = on_first
        # Bound directly, so that a chunk costs no extra call:
        self.put_nowait = stream.put_nowait
        self.put = stream.put
        self.end = stream.end

    def begin(self, translator: Translator) -> None:
        self._translator = translator

    def commit(self) -> None:
        if not self.has_answered:
            self._on_first(self._translator)
            self.has_answered = True
            self._stream.begin(self._translator)
            self._stream.commit()

    async def release(self) -> None:
        pass


class HoldingSink:
    """Holds everything back, at most `most` bytes, until the answer is complete."""

    _translator: Translator

    def __init__(self, stream: Stream, on_first: OnFirst, most: int) -> None:
        self.has_answered = False
        self._stream = stream
        self._on_first = on_first
        self._most = most
        self._held: list[bytes] = []
        self._size = 0

    def begin(self, translator: Translator) -> None:
        self._translator = translator

    def commit(self) -> None:
        if not self.has_answered:
            self._on_first(self._translator)
            self.has_answered = True

    def put_nowait(self, frames: bytes) -> bool:
        self._size += len(frames)
        if self._size > self._most:
            raise EventTooLarge(f"the answer that is held back has more than {self._most} bytes")
        self._held.append(frames)
        return True

    async def put(self, frames: bytes, moved: OnMoved) -> None:
        self.put_nowait(frames)

    def end(self) -> None:
        pass  # nothing of it has gone out yet

    async def release(self) -> None:
        self._stream.begin(self._translator)
        self._stream.commit()
        frames = b"".join(self._held)
        self._held.clear()
        if frames and not self._stream.put_nowait(frames):
            await self._stream.put(frames, unheard)
        self._stream.end()
