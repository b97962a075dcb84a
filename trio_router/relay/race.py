"""Hedging: when the first target is slow, a second one is asked too.  The first to answer wins."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.routing.route import RouteTarget

    Run = Callable[[RouteTarget, "Lane"], Awaitable[bool]]


class Lost(Exception):
    """Another lane has answered first."""


class Lane:
    """One attempt in a race."""

    def __init__(self, race: Race) -> None:
        self.scope = trio.CancelScope()
        self.has_lost = False
        self._race = weakref.proxy(race)  # weak: the race holds us

    def claim(self) -> None:
        """The first event has come.  Raises Lost if another lane's came before."""
        self._race.claim(self)


class Race:
    """`run` makes one attempt in a lane, and returns whether it ended well."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lanes: list[Lane] = []
        self._is_settled = trio.Event()  # an event has come, or no lane runs any more
        self._running = 0
        self._winner: Lane | None = None
        self._has_succeeded = False
        self._fault: Exception | None = None

    async def run(
        self, first: RouteTarget, after: float, rival: Callable[[], RouteTarget | None]
    ) -> bool:
        """Runs the race.  Returns whether one of its attempts ended well.

        After `after` seconds without an event `rival` gives the second target, or None.  Both attempts
        have ended when this returns or raises.
        """
        async with trio.open_nursery() as nursery:
            self._start(nursery, first)
            with trio.move_on_after(after):
                await self._is_settled.wait()
            if not self._is_settled.is_set() and (second := rival()) is not None:
                self._start(nursery, second)
        fault, self._fault = self._fault, None
        try:
            if fault is not None:
                raise fault
        finally:
            del fault  # its traceback holds this frame
        return self._has_succeeded

    def claim(self, lane: Lane) -> None:
        if self._winner is None:
            self._winner = lane
            self._is_settled.set()
            for other in self._lanes:
                if other is not lane:
                    other.has_lost = True
                    other.scope.cancel()
        elif self._winner is not lane:
            raise Lost

    def has_won(self, number: int) -> bool:
        """Whether lane `number`, in the order of their starts, has answered first."""
        return len(self._lanes) > number and self._lanes[number] is self._winner

    def _start(self, nursery: trio.Nursery, target: RouteTarget) -> None:
        lane = Lane(self)
        self._lanes.append(lane)
        self._running += 1
        nursery.start_soon(partial(self._move, target, lane))

    async def _move(self, target: RouteTarget, lane: Lane) -> None:
        try:
            if lane.has_lost:
                return  # another has answered before this one could begin
            with lane.scope:
                # Not with `|=`: that would write back what it was before the wait.
                if await self._run(target, lane):
                    self._has_succeeded = True
        except Lost:
            pass
        except Exception as fault:  # raised by `run`: a nursery would wrap it
            self._fault = fault
        finally:
            self._running -= 1
            if not self._running:
                self._is_settled.set()
