"""Connections in memory that do what networks do to them.

A `Pipe` is one direction: bytes that are written arrive later, in pieces, at a certain rate, and only
so many may be on their way.  An `End` is one side of a connection; its rules are those of Linux: what
was delivered can be read after a reset, who closes with unread bytes resets, who writes to a closed
end is reset.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.simulation.chance import Chance
    from trio_router.simulation.history import Journal
    from trio_router.simulation.stage import Scheduler, Work

BROKEN = (ConnectionResetError, BrokenPipeError)  # what a send or a receive raises
_LONGER = 8  # a cut connection's longer reads, as a multiple of its shorter ones


class Course(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one direction of a connection behaves.  Times in seconds, sizes in bytes."""

    latency: float = 0.0
    jitter: float = 0.0  # more latency, up to this, anew for each write
    rate: float = 0.0  # bytes a second; 0: any
    room: int = 65536  # bytes that may wait between writer and reader
    cut: int = 0  # half of a router's reads give at most so many bytes, the others a few times more
    partial: float = 0.0  # share of the writes that are taken in part only, though there be room
    hole: int = -1  # after so many bytes nothing arrives any more; -1: never


WELL = Course()


class Pipe:
    """One direction.  `on_readable` and `on_writable` are called when a wait for that may end."""

    __slots__ = (
        "_blocked_at", "_chance", "_course", "_flight", "_free_at", "_history", "_last", "_sent",
        "_stage", "cut", "has_ended", "held", "inbox", "is_broken", "is_deaf", "is_finished",
        "longest_block", "name", "on_readable", "on_writable", "opposite", "readable_at", "taken",
    )  # fmt: skip

    def __init__(
        self, name: str, stage: Scheduler, chance: Chance, course: Course, history: Journal
    ) -> None:
        self.name = name
        self._stage = stage
        self._chance = chance
        self._course = course
        self._history = history
        self._flight: deque[tuple[float, bytes | None]] = deque()  # None: the end
        self._last = 0.0  # when the last of them arrives
        self._free_at = 0.0  # when the line has sent what was written, at its rate
        self._sent = 0
        self.cut = 0  # the course's, where a router reads: how others read shows nothing of it
        self.inbox = bytearray()
        self.held = 0  # bytes between writer and reader
        self.taken = 0  # bytes that the reader has had
        self._blocked_at = inf  # since when the writer has found too little room
        self.longest_block = 0.0  # s for which the writer waited and the reader took nothing
        self.readable_at = inf  # when what is to be read, or the end, came first
        self.is_finished = False  # nothing more is written
        self.has_ended = False  # the end has arrived
        self.is_broken = False  # a reset has arrived
        self.is_deaf = False  # the reader has closed
        self.opposite: Pipe = self
        self.on_readable: Callable[[], None] = _nothing
        self.on_writable: Callable[[], None] = _nothing

    @property
    def room(self) -> int:
        return self._course.room - self.held

    def put(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; 0 if there is no room."""
        course = self._course
        size, room = len(data), course.room - self.held
        if size > room:
            size = room
            if self._blocked_at == inf:
                self._blocked_at = self._stage.now
        if size <= 0:
            return 0
        if course.partial and size > 1 and self._chance.odds(course.partial):
            size = self._chance.whole(1, size - 1)
        piece = bytes(data[:size])
        self.held += size
        self._sent += size
        self._history.note(self.name, "sends", piece)
        if course.hole >= 0 and self._sent > course.hole:
            return size
        self._fly(piece)
        return size

    def finish(self) -> None:
        """Nothing more will be written."""
        if not self.is_finished:
            self.is_finished = True
            self._history.note(self.name, "ends")
            if self._course.hole < 0 or self._sent <= self._course.hole:
                self._fly(None)

    def reset(self, *, loses: bool = False) -> None:
        """The reader is told, after what is on its way; with `loses` that is lost before it.

        Where nothing arrives any more, the reader is told nothing either.
        """
        self._history.note(self.name, "resets")
        if loses:
            self._flight.clear()
        self.is_finished = True
        if self._course.hole < 0 or self._sent <= self._course.hole:
            arrives = self._stage.now + self._course.latency
            self._stage.at(max(arrives, self._last), self._break)

    def take(self, most: int) -> bytes:
        """What one read gives; only to be called when there is something in the inbox."""
        inbox = self.inbox
        size = len(inbox)
        if size > most:
            size = most
        if self.cut and size > 1:
            # Cuts may fall anywhere; if each read were tiny, most of the work would be reading.
            longest = self.cut if self._chance.odds(0.5) else self.cut * _LONGER
            size = min(size, self._chance.whole(1, longest))
        if size == len(inbox):
            piece = bytes(inbox)
            inbox.clear()
        else:
            piece = bytes(inbox[:size])
            del inbox[:size]
        self.held -= size
        self.taken += size
        self.unblock()
        self._history.note(self.name, f"is read, {size} B")
        self.on_writable()
        return piece

    def unblock(self) -> None:
        """The writer waits for room no longer, or only from now on."""
        if self._blocked_at < inf:
            self.longest_block = max(self.longest_block, self._stage.now - self._blocked_at)
            self._blocked_at = inf

    def _fly(self, piece: bytes | None) -> None:
        course, now = self._course, self._stage.now
        if course is WELL and not self._flight:
            self._arrive(piece)
            return
        arrives = now
        if course.latency or course.jitter:
            arrives += course.latency + course.jitter * self._chance.random()
        if course.rate and piece is not None:
            self._free_at = max(self._free_at, now) + len(piece) / course.rate
            arrives += self._free_at - now
        if arrives <= now and not self._flight:
            self._arrive(piece)
            return
        self._last = max(arrives, self._last)
        self._flight.append((self._last, piece))
        self._stage.at(self._last, self._land)

    def _land(self) -> None:
        """Something on its way is due, unless a reset has come between."""
        if self._flight and self._flight[0][0] <= self._stage.now:
            self._arrive(self._flight.popleft()[1])

    def _arrive(self, piece: bytes | None) -> None:
        if self.is_broken:
            return
        if not self.inbox:
            self.readable_at = self._stage.now
        if piece is None:
            self.has_ended = True
        elif self.is_deaf:
            self.held -= len(piece)
            self.opposite.reset()
            return
        else:
            self.inbox += piece
        self.on_readable()

    def _break(self) -> None:
        self.is_broken = self.opposite.is_broken = True
        self.opposite._flight.clear()
        self.on_readable()
        self.opposite.on_writable()


class End:
    """One side of a connection, for an actor: nothing here waits but what says so."""

    __slots__ = ("closed_at", "inn", "is_closed", "name", "out", "peer", "stage")

    def __init__(self, name: str, stage: Scheduler, inn: Pipe, out: Pipe) -> None:
        self.name = name
        self.stage = stage
        self.inn = inn
        self.out = out
        self.is_closed = False
        self.closed_at = inf
        self.peer = self

    def wakes(self, wake: Callable[[], None]) -> None:
        """`wake` is called whenever a wait may end."""
        self.inn.on_readable = self.out.on_writable = wake

    @property
    def is_readable(self) -> bool:
        inn = self.inn
        return bool(inn.inbox) or inn.has_ended or inn.is_broken

    @property
    def has_hung_up(self) -> bool:
        """The other side has closed, though there be unread bytes."""
        return self.inn.has_ended or self.inn.is_broken

    def receive(self, most: int) -> bytes | None:
        """What can be read; b"" at the end; None if there is nothing.  Raises ConnectionResetError."""
        inn = self.inn
        if inn.inbox:
            return inn.take(most)
        if inn.is_broken:
            raise ConnectionResetError("the connection was reset")
        return b"" if inn.has_ended else None

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes were taken.  Raises ConnectionResetError, BrokenPipeError."""
        out = self.out
        if out.is_broken:
            raise ConnectionResetError("the connection was reset")
        if out.is_finished:
            raise BrokenPipeError("the connection was ended here")
        return out.put(data)

    def finish(self) -> None:
        if not self.out.is_broken:
            self.out.finish()

    def cuts(self) -> None:
        """What is read here is cut as the course says."""
        self.inn.cut = self.inn._course.cut

    def close(self) -> None:
        if self.is_closed:
            return
        self._shut()
        if self.out.is_broken:
            return
        if self.inn.inbox:
            self.out.reset()
        else:
            self.out.finish()

    def reset(self) -> None:
        if not self.is_closed:
            self._shut()
            if not self.out.is_broken:
                # What the kernel had not sent yet is lost with the connection; it may be all.
                self.out.reset(loses=self.out._chance.odds(0.5))

    def _shut(self) -> None:
        self.out.unblock()
        self.is_closed = True
        self.closed_at = self.stage.now
        self.inn.is_deaf = True
        self.inn.on_readable = self.out.on_writable = _nothing

    # -- for actors: they are woken by `wakes`

    def wait_receive(self, most: int = 65536, until: float = inf) -> Work:
        """Waits until something can be read, or until then."""
        while not self.is_readable and self.stage.now < until:
            yield until

    def send_all(self, data: bytes, until: float = inf) -> Work:
        """Raises ConnectionResetError, BrokenPipeError.  Gives up at `until`."""
        rest = memoryview(data)
        while True:
            rest = rest[self.send(rest) :]
            if not rest or self.stage.now >= until:
                return
            yield until


def _nothing() -> None:
    pass
