"""How many connections may be open at once, and which of them has to go when one more comes.

Nothing is asked of the protocol: a connection is told to go by shutting its socket down, so it ends as
if its client had left.  Requests find their connection's seat in `current_seat`, which every task that
serves the connection inherits; where another server is below, there is none.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from contextvars import ContextVar

from trio_router.transport.sockets import Wire

try:
    import resource
except ImportError:  # a system that has no such limits
    resource = None  # type: ignore[assignment]

_MANY = 65536  # connections, where nothing limits them
_RESERVE = 64  # descriptors for all that is no connection: listeners, files, the event loop, pipes


class Seat:
    """One connection's place.  It is known once a request on it had a valid key, or needed none."""

    __slots__ = ("_requests", "_row", "_seats", "_sock")

    def __init__(self, seats: Seats, sock: socket.socket | Wire) -> None:
        self._seats = seats
        self._sock = sock
        self._requests = 0  # admitted, and being answered
        self._row: dict[Seat, None] | None = None  # where it stands; None once it had to go

    def begin(self) -> None:
        """A request of this connection was admitted."""
        self._requests += 1
        if self._requests == 1 and self._row is not None:
            self.move(self._seats.busy)

    def end(self) -> None:
        """One that had begun is over."""
        self._requests -= 1
        if self._requests == 0 and self._row is not None:
            self.move(self._seats.idle)

    def move(self, row: dict[Seat, None] | None) -> None:
        """To the end of `row`; None: it is given up."""
        if self._row is not None:
            del self._row[self]
        self._row = row
        if row is not None:
            row[self] = None

    def shut(self) -> None:
        """The connection's tasks see its end as soon as they run."""
        with suppress(OSError):  # its client has closed it already
            if isinstance(self._sock, Wire):
                self._sock.close()
            else:
                self._sock.shutdown(socket.SHUT_RDWR)


class Seats:
    """At most `limit` connections.  One more takes the place of another, in this order:

    the oldest that never had a valid key; the one with a key that has been idle longest.  A request
    that was admitted is never ended for a newcomer: then there is no place.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.unknown: dict[Seat, None] = {}  # the oldest first
        self.idle: dict[Seat, None] = {}  # known; the one that has been idle longest first
        self.busy: dict[Seat, None] = {}

    def __len__(self) -> int:
        return len(self.unknown) + len(self.idle) + len(self.busy)

    def take(self, sock: socket.socket | Wire) -> Seat | None:
        """A seat for a new connection; None if there is none to be had."""
        if len(self) >= self.limit and not self._make_room():
            return None
        seat = Seat(self, sock)
        seat.move(self.unknown)
        return seat

    def leave(self, seat: Seat) -> None:
        """The connection has ended, or has to."""
        seat.move(None)

    def _make_room(self) -> bool:
        victim = next(iter(self.unknown), None) or next(iter(self.idle), None)
        if victim is None:
            return False
        self.leave(victim)
        victim.shut()
        return True


current_seat: ContextVar[Seat | None] = ContextVar("current_seat", default=None)


def raise_descriptor_limit() -> int | None:
    """Lets this process, and those it forks, have as many descriptors as it may; tells how many.

    None where the system does not limit or does not tell.
    """
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # some systems tell more than they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return descriptor_limit()


def descriptor_limit() -> int | None:
    """How many descriptors this process may have open; None where that is not limited."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def connection_limit(configured: int | None, descriptors: int | None) -> int:
    """How many clients' connections may be open, of `configured` at most.

    By default half of the descriptors, less a reserve: each connection may have an upstream's of its
    own.  What was configured is cut to what is left without the reserve alone.
    """
    if descriptors is None:
        return _MANY if configured is None else configured
    free = descriptors - min(_RESERVE, descriptors // 4)
    return max(1, free // 2 if configured is None else min(configured, free))
