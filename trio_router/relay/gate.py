"""A limit on what runs at one time, with a bounded queue in front of it."""

from __future__ import annotations

import trio

from trio_router.errors import Overloaded
from trio_router.routing.admission import Admission, Entry


class Gate:
    """Lets at most `limit` inside.  At most `queue` more wait, and enter in the order they came in."""

    def __init__(self, limit: int, queue: int) -> None:
        self.admission: Admission[trio.Event] = Admission(limit, queue)

    async def enter(self, patience: float, refusal: str) -> bool:
        """Waits up to `patience` seconds.  Returns whether the caller is inside; then it calls `leave`.

        Raises Overloaded with the message `refusal` if the queue is full.  On cancel it holds nothing.
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
                self.leave()  # it was admitted at the moment it gave up
        return is_inside

    def leave(self) -> None:
        """Frees the caller's place, and admits whoever has waited longest."""
        if (ticket := self.admission.leave()) is not None:
            ticket.set()

    def resize(self, limit: int, queue: int) -> None:
        """Takes new limits, and admits those who wait as far as there is room now."""
        for ticket in self.admission.resize(limit, queue):
            ticket.set()
