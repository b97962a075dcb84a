"""Admission: at most `limit` are inside, a bounded queue waits in order, the rest is refused."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")


class Entry(Enum):
    IN = "in"
    WAIT = "wait"
    FULL = "full"


class Admission(Generic[Ticket]):
    """Counts only; the caller waits.  Whoever is inside calls `leave` exactly once."""

    def __init__(self, limit: int, queue: int) -> None:
        self._limit = limit
        self._queue = queue
        self.inside = 0
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter(self, ticket: Ticket) -> Entry:
        """Admits a ticket, or queues it until another's `leave` admits it or it gives up."""
        if self.inside < self._limit:
            self.inside += 1
            return Entry.IN
        if len(self._waiting) >= self._queue:
            return Entry.FULL
        self._waiting[ticket] = None
        return Entry.WAIT

    def give_up(self, ticket: Ticket) -> bool:
        """`ticket` waits no longer.  False if it was admitted already: then it must call `leave`."""
        if ticket not in self._waiting:
            return False
        del self._waiting[ticket]
        return True

    def leave(self) -> Ticket | None:
        """One leaves.  Returns the ticket that is admitted in its place, which the caller wakes."""
        if self._waiting and self.inside <= self._limit:
            return self._waiting.popitem(last=False)[0]
        self.inside -= 1
        return None

    def resize(self, limit: int, queue: int) -> list[Ticket]:
        """Takes new limits.  Returns the tickets that are admitted now, which the caller wakes.

        Whoever is inside stays, even above a lower limit; whoever waits keeps its place in the queue.
        """
        self._limit = limit
        self._queue = queue
        let_in = []
        while self._waiting and self.inside < limit:
            self.inside += 1
            let_in.append(self._waiting.popitem(last=False)[0])
        return let_in
