"""A bound on what is done at once, with a bounded queue before it."""

from __future__ import annotations

import trio

from trio_router.errors import Overloaded
from trio_router.routing.admission import Admission, Entry


class Gate:
    """At most `limit` are inside; at most `queue` more wait, and are let in in their order."""

    def __init__(self, limit: int, queue: int) -> None:
        self.admission: Admission[trio.Event] = Admission(limit, queue)

    async def enter(self, patience: float, refusal: str) -> bool:
        """Waits up to `patience` seconds; whether it is inside now.  Who is calls `leave` once.

        Raises Overloaded, which says `refusal`, if the queue is full.  On cancel nothing is held.
        """
        ticket = trio.Event()
        match self.admission.enter(ticket):
            case Entry.IN:
                return True
            case Entry.FULL:
                raise Overloaded(refusal, retry_after="1")
        is_inside = False
        try:
            with trio.move_on_after(patience):
                await ticket.wait()
                is_inside = True
        finally:
            if not is_inside and not self.admission.give_up(ticket):
                self.leave()  # let in at the very moment it gave up
        return is_inside

    def leave(self) -> None:
        if (ticket := self.admission.leave()) is not None:
            ticket.set()

    def resize(self, limit: int, queue: int) -> None:
        """Takes new limits: who waits and has room now is let in."""
        for ticket in self.admission.resize(limit, queue):
            ticket.set()
