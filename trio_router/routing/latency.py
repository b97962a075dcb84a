"""How long a target takes to its first event: lately, and at its worst."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

_REMEMBERED = 200  # samples for the quantiles
_FEWEST = 20  # samples below which a quantile says nothing
_DECAY = 30.0  # s in which what was measured loses most of its weight


class Latency:
    """Times to the first event, in seconds.  A slow one counts at once, and is forgiven with time."""

    def __init__(self) -> None:
        self._value = 0.0
        self._at = 0.0
        self._samples: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float, now: float) -> None:
        """A first event came after `seconds`; or none had come when it was given up."""
        weight = math.exp(-max(0.0, now - self._at) / _DECAY)
        self._value = max(seconds, self._value * weight + seconds * (1 - weight))
        self._at = now
        self._samples.append(seconds)
        insort(self._sorted, seconds)
        if len(self._samples) > _REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._samples.popleft())]

    def now(self, now: float) -> float:
        """What to expect; 0 for a target that was not asked for long, so that it is tried."""
        return self._value * math.exp(-max(0.0, now - self._at) / _DECAY)

    def quantile(self, share: float) -> float | None:
        """The time within which `share` of the last answers began; None while too few are known."""
        if len(self._sorted) < _FEWEST:
            return None
        return self._sorted[min(len(self._sorted) - 1, math.ceil(share * len(self._sorted)) - 1)]
