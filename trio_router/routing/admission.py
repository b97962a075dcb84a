"""Who may go in: at most `limit` at once; more wait in a queue, in order; the rest is refused."""

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
    """Counts; waiting is the caller's matter.  Who is in leaves exactly once."""

    def __init__(self, limit: int, queue: int) -> None:
        self._limit = limit
        self._queue = queue
        self.inside = 0
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter(self, ticket: Ticket) -> Entry:
        """A ticket that must wait is either let in by another's `leave`, or gives up."""
        if self.inside < self._limit:
            self.inside += 1
            return Entry.IN
        if len(self._waiting) >= self._queue:
            return Entry.FULL
        self._waiting[ticket] = None
        return Entry.WAIT

    def give_up(self, ticket: Ticket) -> bool:
        """`ticket` waits no longer; False if it had been let in already: then it has to leave."""
        if ticket not in self._waiting:
            return False
        del self._waiting[ticket]
        return True

    def leave(self) -> Ticket | None:
        """One goes out; the ticket that is in instead, to be told."""
        if self._waiting and self.inside <= self._limit:
            return self._waiting.popitem(last=False)[0]
        self.inside -= 1
        return None

    def resize(self, limit: int, queue: int) -> list[Ticket]:
        """Takes new limits; the tickets that are in now because there is more room, to be told.

        Who is in stays in, above a lower limit too; who waits keeps its place, in a shorter queue too.
        """
        self._limit = limit
        self._queue = queue
        let_in = []
        while self._waiting and self.inside < limit:
            self.inside += 1
            let_in.append(self._waiting.popitem(last=False)[0])
        return let_in
