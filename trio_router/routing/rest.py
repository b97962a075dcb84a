"""A provider's `Retry-After`, obeyed within reason.

Times are seconds of one clock, given by the caller.
"""

from __future__ import annotations

MOST_TOLD = 300.0  # s: the longest Retry-After that a client gets, whatever a provider says

_AT_ONCE = 0.001  # s: tolerance, because floats do not add up exactly
_GIVEN_UP = 10.0  # s after a probe was given up until another request may probe


class Rest:
    """The Retry-After of one target or key.  `most` is the longest that is obeyed without a probe.

    A rest of up to `most` seconds ends by itself.  During a longer one, one request probes the target
    each `most` seconds; if it succeeds, the rest is over.
    """

    __slots__ = ("_since", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._since = 0.0  # when the rest or its last probe began

    def ask(self, now: float, seconds: float, *, is_probe: bool = False) -> None:
        """The provider sent Retry-After: `seconds`.  A probe's counts even if it is shorter."""
        self.until = now + seconds if is_probe else max(self.until, now + seconds)
        self._since = now

    def end(self, began: float) -> None:
        """A request that began at `began` succeeded; if it began before the rest, it says nothing."""
        if began >= self._since:
            self.until = 0.0

    def wait(self, now: float, most: float) -> float:
        """Seconds until a request may ask; 0: it may ask now."""
        wait = min(self.until, self._since + most) - now
        return wait if wait > _AT_ONCE else 0.0

    def is_over(self, now: float) -> bool:
        return self.until - now <= _AT_ONCE

    def is_kept_from(self, now: float, most: float) -> bool:
        """Whether the rest is so long that only a probe may ask, and no probe is due."""
        return self.until - self._since > most and self.wait(now, most) > 0

    def enter(self, now: float, most: float) -> bool:
        """A request is about to ask.  Returns whether it is the probe of a long rest."""
        if self.is_over(now) or self.wait(now, most) > 0:
            return False
        self._since = now
        return True

    def give_up_probe(self, now: float, most: float) -> None:
        """The probe ended without a result."""
        self._since = min(self._since, now + _GIVEN_UP - most)
