"""Alarms that are moved far more often than they ring; one task rings all of them.

A task with its own deadline for each idle connection and each silent stream would cost eight kilobytes
and a pass of the scheduler.  Moving an alarm that is set already costs one assignment.
"""

from __future__ import annotations

import logging
import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("trio_router")
_FEW = 1000  # stopped alarms in the queue that are not worth a sweep of the whole queue


class Alarm:
    """Calls `ring` at `when` (`trio.current_time()`, in seconds); `math.inf` means never.

    `ring` runs in the clock's own task: it must not wait, and should not raise (a fault is logged).
    """

    __slots__ = ("_clock", "queued", "ring", "when")

    def __init__(self, clock: AlarmClock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self.ring: Callable[[], None] | None = ring
        self.when = math.inf
        self.queued = math.inf  # when the clock will check it

    def set(self, when: float) -> None:
        self.when = when
        if when < self.queued and self.ring is not None:
            self._clock.look_at(self)

    def stop(self) -> None:
        """Stops the alarm for good, and drops the reference to `ring`."""
        self.when = math.inf
        if self.ring is not None:
            self.ring = None
            self._clock.stopped(self)


class AlarmClock:
    """Checks an alarm when it was first due, and again later if it has been moved since."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._waiting: trio.CancelScope | None = None
        self._stopped = 0  # an upper bound of the stopped alarms in the queue

    @property
    def queued(self) -> int:
        """Alarms in the queue, stopped ones included."""
        return len(self._queue)

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        return Alarm(self, ring)

    def look_at(self, alarm: Alarm) -> None:
        alarm.queued = alarm.when
        heappush(self._queue, (alarm.when, next(self._order), alarm))
        if self._waiting is not None and alarm.when < self._waiting.deadline:
            self._waiting.deadline = alarm.when

    def stopped(self, alarm: Alarm) -> None:
        """Sweeps the queue once it holds many stopped alarms, which would take a mebibyte for 4,000."""
        self._stopped += alarm.queued < math.inf
        if self._stopped > max(_FEW, len(self._queue) // 2):
            self._queue = [x for x in self._queue if x[2].ring is not None and x[0] == x[2].queued]
            heapify(self._queue)
            self._stopped = 0

    async def run(self) -> None:
        """Rings alarms until it is cancelled."""
        while True:
            due = self._queue[0][0] if self._queue else math.inf
            with trio.CancelScope(deadline=due) as self._waiting:
                await trio.sleep_forever()
            self._ring_what_is_due()

    def _ring_what_is_due(self) -> None:
        now = trio.current_time()
        while self._queue and self._queue[0][0] <= now:
            queued, _, alarm = heappop(self._queue)
            if queued != alarm.queued:
                continue  # it was moved to an earlier time since, and checked then
            alarm.queued = math.inf
            if alarm.ring is None:
                continue
            if alarm.when > now:
                if alarm.when < math.inf:
                    self.look_at(alarm)
            else:
                alarm.when = math.inf
                try:
                    alarm.ring()
                except Exception:  # the other alarms must still ring
                    logger.exception("an alarm failed")
