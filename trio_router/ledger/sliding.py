"""A minute that slides: what was counted in it, and when what leaves."""

from __future__ import annotations

from heapq import heappop, heappush

from trio_router.ledger.ceilings import TICK, tick_of


class SlidingMinute:
    """Amounts by the tick at which they leave.  Everything that has left is forgotten."""

    def __init__(self) -> None:
        self.total = 0
        self._amounts: dict[int, int] = {}
        self._ticks: list[int] = []  # a heap

    def forget(self, now: float) -> None:
        """Forgets what has left."""
        tick = tick_of(now)
        while self._ticks and self._ticks[0] <= tick:
            self.total -= self._amounts.pop(heappop(self._ticks))

    def add(self, amount: int, at: int) -> None:
        """Adds to what leaves at `at`, which has not come yet; less than zero takes away."""
        known = self._amounts.get(at)
        if known is None:
            if amount <= 0:
                return
            known = 0
            heappush(self._ticks, at)
        new = max(0, known + amount)
        self._amounts[at] = new
        self.total += new - known

    def after(self, amount: int, most: int, now: float) -> float | None:
        """In how many seconds `amount` more fits below `most`; None if it never does."""
        if amount > most:
            return None
        over, tick = self.total + amount - most, tick_of(now)
        for at in sorted(self._ticks):
            if over <= 0:
                break
            over -= self._amounts[at]
            tick = at
        return max(0.0, tick * TICK - now)
