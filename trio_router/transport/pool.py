"""The connection pool: idle connections, and who may open the next.  Every step takes constant time."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from trio_router.clock.alarms import Alarm

_SWEEP = 8  # expired connections looked at on each acquire


class Poolable(Protocol):
    """What the pool needs to know of a connection."""

    @property
    def key(self) -> Hashable:
        """Connections of equal keys are interchangeable."""

    def is_quiet(self) -> bool:
        """False if the other side has sent or closed something while it was idle."""

    def close(self) -> None:
        """Close at once; may be called again."""


C = TypeVar("C", bound=Poolable)


class PoolClosed(Exception):
    """The pool is closed: it gives no more connections."""


class _Waiter(Generic[C]):
    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.served = trio.Event()
        self.has_slot = False
        self.connection: C | None = None


class Pool(Generic[C]):
    """Idle connections by key, and at most `max_connections` slots (None: any number).

    Every connection holds a slot, whether in use, idle or being opened.  Waiters are served in
    order.  At most `max_keepalive` connections are kept idle, each for `expiry` seconds: what expires
    is closed by who comes next, and without anybody if there is an alarm (`ring_with`).
    """

    def __init__(self, max_connections: int | None, max_keepalive: int, expiry: float) -> None:
        self._max = max_connections
        self._max_keepalive = max_keepalive
        self._expiry = expiry
        self._slots = 0
        self._closed = False
        self._alarm: Alarm | None = None  # for the oldest idle connection, or earlier
        self._busy: dict[C, None] = {}
        # Oldest first, with the time each became idle.  While anyone waits, no connection is idle and
        # every slot is taken, so that nobody can overtake the waiters.
        self._idle: OrderedDict[C, float] = OrderedDict()
        self._idle_by_key: dict[Hashable, OrderedDict[C, None]] = {}
        self._waiters: OrderedDict[_Waiter[C], None] = OrderedDict()

    @property
    def open(self) -> int:
        """Slots taken."""
        return self._slots

    @property
    def idle(self) -> int:
        return len(self._idle)

    def ring_with(self, alarm: Callable[[Callable[[], None]], Alarm]) -> None:
        """`alarm` makes an alarm that calls what it is given."""
        self._alarm = alarm(self._sweep_all)

    def take(self, key: Hashable) -> tuple[bool, C | None]:
        """Takes a slot without waiting.  Returns whether there was one, and the idle connection in it.

        With (True, None) the caller opens a connection and hands it to `adopt`, or returns the slot
        with `release_slot`.  Raises PoolClosed.
        """
        if self._closed:
            raise PoolClosed
        if self._alarm is None:
            self._sweep()
        connection = self._take_idle(key)
        if connection is not None:
            self._busy[connection] = None
            return True, connection
        if self._max is not None and self._slots >= self._max and not self._evict_oldest():
            return False, None
        self._slots += 1
        return True, None

    async def wait(self, key: Hashable) -> C | None:
        """Waits for a slot, in order.  Returns the idle connection in it, or None as `take` does.

        Raises PoolClosed.  On cancel it holds nothing.
        """
        waiter: _Waiter[C] = _Waiter(key)
        self._waiters[waiter] = None
        try:
            await waiter.served.wait()
        except BaseException:
            self._withdraw(waiter)
            raise
        if not waiter.has_slot:
            raise PoolClosed
        return waiter.connection

    def adopt(self, connection: C) -> None:
        """Takes a connection opened in the caller's slot.  Raises PoolClosed, and closes it."""
        if self._closed:
            connection.close()
            raise PoolClosed
        self._busy[connection] = None

    def release_slot(self) -> None:
        """Returns a slot that holds no connection."""
        if self._waiters:
            self._serve_first()
        else:
            self._slots -= 1

    def discard(self, connection: C) -> None:
        """Closes a connection in use and returns its slot."""
        connection.close()
        self._busy.pop(connection, None)
        self.release_slot()

    def replace(self, connection: C) -> None:
        """Closes a connection in use.  The caller keeps its slot for another one."""
        connection.close()
        self._busy.pop(connection, None)

    def give_back(self, connection: C) -> None:
        """A connection in use becomes idle, or goes to the first waiter."""
        if self._closed:
            self.discard(connection)
        elif self._waiters:
            self._hand_over(connection)
        elif self._max_keepalive < 1:
            self.discard(connection)
        else:
            self._busy.pop(connection, None)
            self._make_idle(connection)

    def close(self) -> None:
        """Closes every connection, also those in use; waiters get PoolClosed."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.stop()
        while self._evict_oldest():
            pass
        for connection in self._busy:
            connection.close()
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            waiter.served.set()

    def _hand_over(self, connection: C) -> None:
        waiter = self._serve_first()
        if waiter.key == connection.key:
            waiter.connection = connection
        else:
            self.replace(connection)

    def _serve_first(self) -> _Waiter[C]:
        waiter, _ = self._waiters.popitem(last=False)
        waiter.has_slot = True
        waiter.served.set()
        return waiter

    def _withdraw(self, waiter: _Waiter[C]) -> None:
        if waiter.connection is not None:  # served between the cancel and its arrival
            self.give_back(waiter.connection)
        elif waiter.has_slot:
            self.release_slot()
        else:
            self._waiters.pop(waiter, None)

    def _make_idle(self, connection: C) -> None:
        if len(self._idle) >= self._max_keepalive:
            self._evict_oldest()
        now = trio.current_time()
        self._idle[connection] = now
        if self._alarm is not None and self._alarm.when == inf:
            self._alarm.set(now + self._expiry)
        self._idle_by_key.setdefault(connection.key, OrderedDict())[connection] = None

    def _take_idle(self, key: Hashable) -> C | None:
        # With an alarm, what has expired is closed by it.
        deadline = -inf if self._alarm is not None else trio.current_time() - self._expiry
        while (same := self._idle_by_key.get(key)) is not None:
            connection = next(reversed(same))  # the most recently used is the likeliest to be alive
            since = self._idle[connection]
            self._forget_idle(connection)
            if since > deadline and connection.is_quiet():
                return connection
            connection.close()
            self._slots -= 1
        return None

    def _forget_idle(self, connection: C) -> None:
        del self._idle[connection]
        same = self._idle_by_key[connection.key]
        del same[connection]
        if not same:
            del self._idle_by_key[connection.key]

    def _evict_oldest(self) -> bool:
        if not self._idle:
            return False
        connection = next(iter(self._idle))
        self._forget_idle(connection)
        connection.close()
        self._slots -= 1
        return True

    def _sweep_all(self) -> None:
        now = trio.current_time()
        while (oldest := next(iter(self._idle.values()), None)) is not None:
            if oldest + self._expiry > now:
                if self._alarm is not None:
                    self._alarm.set(oldest + self._expiry)
                return
            self._evict_oldest()

    def _sweep(self) -> None:
        deadline = trio.current_time() - self._expiry
        for _ in range(_SWEEP):
            oldest = next(iter(self._idle.values()), None)
            if oldest is None or oldest > deadline:
                return
            self._evict_oldest()
