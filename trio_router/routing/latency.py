"""How long a target takes to its first event: a recent estimate, and quantiles."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

_REMEMBERED = 200  # samples kept for the quantiles
_FEWEST = 20  # samples that a quantile needs at least
_DECAY = 30.0  # s in which a measurement loses most of its weight


class Latency:
    """Times to the first event, in seconds.  A slow one counts fully at once, then decays."""

    def __init__(self) -> None:
        self._value = 0.0
        self._at = 0.0
        self._samples: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float, now: float) -> None:
        """A first event came after `seconds`, or none had come when the request was given up."""
        weight = math.exp(-max(0.0, now - self._at) / _DECAY)
        self._value = max(seconds, self._value * weight + seconds * (1 - weight))
        self._at = now
        self._samples.append(seconds)
        insort(self._sorted, seconds)
        if len(self._samples) > _REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._samples.popleft())]

    def now(self, now: float) -> float:
        """The expected time.  It decays to 0 while the target is not asked, so that it is retried."""
        return self._value * math.exp(-max(0.0, now - self._at) / _DECAY)

    def quantile(self, share: float) -> float | None:
        """The time within which `share` of the last answers began; None with too few samples."""
        if len(self._sorted) < _FEWEST:
            return None
        return self._sorted[min(len(self._sorted) - 1, math.ceil(share * len(self._sorted)) - 1)]
