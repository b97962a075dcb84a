"""How many connections may be open, and which one is closed when one more comes.

This works for every protocol: a connection is evicted by shutting its socket down, so it ends as if its
client had left.  Requests find their connection's seat in `current_seat`, which every task of the
connection inherits.  Under another server (Hypercorn) there are no seats.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from contextvars import ContextVar

from trio_router.transport.sockets import Wire

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]

_MANY = 65536  # connections, if the system has no limit
_RESERVE = 64  # descriptors that are not connections: listeners, files, the event loop, pipes


class Seat:
    """One connection's place.  It is `known` once a request had a valid key, or needed none."""

    __slots__ = ("_requests", "_row", "_seats", "_sock")

    def __init__(self, seats: Seats, sock: socket.socket | Wire) -> None:
        self._seats = seats
        self._sock = sock
        self._requests = 0  # admitted requests that are being answered
        self._row: dict[Seat, None] | None = None  # the queue it stands in; None once it is evicted

    def begin(self) -> None:
        """A request of this connection was admitted."""
        self._requests += 1
        if self._requests == 1 and self._row is not None:
            self.move(self._seats.busy)

    def end(self) -> None:
        """An admitted request has ended."""
        self._requests -= 1
        if self._requests == 0 and self._row is not None:
            self.move(self._seats.idle)

    def move(self, row: dict[Seat, None] | None) -> None:
        """Moves to the end of `row`; None: it leaves all rows."""
        if self._row is not None:
            del self._row[self]
        self._row = row
        if row is not None:
            row[self] = None

    def shut(self) -> None:
        """Shuts the socket down: the connection's tasks see its end when they run next."""
        with suppress(OSError):  # its client has closed it already
            if isinstance(self._sock, Wire):
                self._sock.close()
            else:
                self._sock.shutdown(socket.SHUT_RDWR)


class Seats:
    """The places of at most `limit` connections.

    One connection more takes the place of another: of the oldest without a valid key, else of the
    one with a key that has been idle longest.  An admitted request is never ended for a new
    connection: if only those are left, the new connection is refused.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.unknown: dict[Seat, None] = {}  # the oldest first
        self.idle: dict[Seat, None] = {}  # known; the one that has been idle longest first
        self.busy: dict[Seat, None] = {}

    def __len__(self) -> int:
        return len(self.unknown) + len(self.idle) + len(self.busy)

    def take(self, sock: socket.socket | Wire) -> Seat | None:
        """A seat for a new connection; None if there is none."""
        if len(self) >= self.limit and not self._make_room():
            return None
        seat = Seat(self, sock)
        seat.move(self.unknown)
        return seat

    def leave(self, seat: Seat) -> None:
        """The connection has ended, or is evicted."""
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
    """Raises the limit of descriptors of this process and its children.  Returns the new limit.

    None if the system has no limit or does not report it.
    """
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # some systems tell more than they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return descriptor_limit()


def descriptor_limit() -> int | None:
    """How many descriptors this process may have open; None: no limit."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def connection_limit(configured: int | None, descriptors: int | None) -> int:
    """How many clients' connections may be open; at most `configured`.

    The default is half of the descriptors, less a reserve, because each connection may need one more
    for an upstream.  A configured number is only cut to the descriptors less the reserve.
    """
    if descriptors is None:
        return _MANY if configured is None else configured
    free = descriptors - min(_RESERVE, descriptors // 4)
    return max(1, free // 2 if configured is None else min(configured, free))
