"""Virtual time, and the actors that play clients, providers and the network beside the router.

The router's own tasks run in trio.  Everything else is a small generator (`Actor`) that the run loop
(`passes`) steps, so that an actor costs next to nothing and its order is the seed's alone.  Time
moves only when all tasks wait: `jump` then goes to the next moment at which anything is due, in trio
or here.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from trio._core import _run as trio_run  # its deadlines: see `jump`

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trio_router.simulation.chance import Chance

    Work = Generator[float, None, None]  # yields until when it waits, if nothing wakes it before

BEGINNING = 1000.0  # s: clocks of real machines do not begin at 0 either
_STUCK = 1000  # passes in which nothing is due: then the run loop itself gives up


class WorldIsStuck(Exception):
    """Everybody waits, and nothing is due ever."""


class Timer:
    """Something that is to happen.  `cancel` makes it nothing."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None

    def fire(self) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


class Scheduler:
    """Runs what is due.  `haste` is how many acts may happen between two steps of the router."""

    def __init__(self, chance: Chance, haste: int = 3) -> None:
        self.now = BEGINNING
        self._chance = chance
        self._haste = haste
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self.ready: list[Callable[[], None]] = []  # what can happen now
        self._parked: Any = None  # the task of `run`
        self._fault: Exception | None = None  # what it is to raise
        self._stuck = 0  # passes in which nothing was due

    def time(self) -> float:
        return self.now

    def soon(self, act: Callable[[], None]) -> None:
        """`act` happens now, in an order with other acts that the seed decides."""
        self.ready.append(act)

    def at(self, when: float, act: Callable[[], None]) -> Timer:
        timer = Timer(act)
        self._count += 1
        heappush(self._timers, (when, self._count, timer))
        return timer

    def jump(self) -> None:
        """All tasks wait, and nothing can happen now: goes on to the next moment."""
        timers = self._timers
        while timers and timers[0][2].act is None:
            heappop(timers)
        due = timers[0][0] if timers else inf
        deadline = trio_run.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline()
        if due > deadline:
            self.now = max(self.now, deadline)
            return
        if due == inf:
            self._stuck += 1
            if self._stuck > _STUCK:
                raise WorldIsStuck("nobody is left to be told")
            self._fault = WorldIsStuck()
            self._unpark()
            return
        self.now = max(self.now, due)
        while timers and timers[0][0] <= self.now:
            self.ready.append(heappop(timers)[2].fire)

    def act(self) -> None:
        """Lets as many acts happen as the seed allows between two steps of the router."""
        ready, random = self.ready, self._chance.random
        left = 1 + int(random() * self._haste)
        try:
            while ready and left:
                left -= 1
                if len(ready) > 1:
                    place = int(random() * len(ready))
                    ready[place], ready[-1] = ready[-1], ready[place]
                ready.pop()()
        except Exception as fault:
            if self._parked is None:
                raise
            self._fault = fault
            self._unpark()

    async def run(self) -> None:
        """Waits until it is cancelled.  Raises WorldIsStuck, and what an act raises."""
        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._fault is not None:
            raise self._fault

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _unpark(self) -> None:
        task, self._parked = self._parked, None
        if task is not None:
            trio.lowlevel.reschedule(task)


class Actor:
    """Plays `work`: a generator that yields when it waits, until it is woken or that time has come."""

    __slots__ = ("_is_called", "_on_end", "_stage", "_timer", "_work", "is_over", "name")

    def __init__(
        self, stage: Scheduler, name: str, work: Work, on_end: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self.is_over = False
        self._stage = stage
        self._work = work
        self._on_end = on_end
        self._timer: Timer | None = None
        self._is_called = True
        stage.soon(self._step)

    def wake(self) -> None:
        if not self._is_called and not self.is_over:
            self._is_called = True
            self._stage.soon(self._step)

    def _ring(self) -> None:
        self._timer = None
        if not self._is_called:
            self._is_called = True
            self._step()

    def _step(self) -> None:
        self._is_called = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            until = next(self._work)
        except StopIteration:
            self.is_over = True
            if self._on_end is not None:
                self._on_end()
            return
        if until < inf:
            self._timer = self._stage.at(until, self._ring)
