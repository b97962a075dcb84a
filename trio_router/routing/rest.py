"""The patience that a provider has asked for (`Retry-After`), believed within reason.

Times are seconds of one clock, given by the caller.
"""

from __future__ import annotations

MOST_TOLD = 300.0  # s: no client is told to stay away for longer, whatever a provider says

_AT_ONCE = 0.001  # s: clocks do not add up exactly
_GIVEN_UP = 10.0  # s after which another may probe, where a probe was given up


class Rest:
    """One target's, or one key's.  `most` is how long a rest may be before one request probes it.

    A rest that is no longer than `most` ends by itself.  From a longer one, one request is let through
    each `most` seconds; if it goes well, the rest is over.
    """

    __slots__ = ("_since", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._since = 0.0  # when it began, or when the last probe did

    def ask(self, now: float, seconds: float, *, is_probe: bool = False) -> None:
        """The provider asks for `seconds` of patience.  What a probe is told counts, even if less."""
        self.until = now + seconds if is_probe else max(self.until, now + seconds)
        self._since = now

    def end(self, began: float) -> None:
        """A request of the time `began` went well.  One that was asked before tells nothing of it."""
        if began >= self._since:
            self.until = 0.0

    def wait(self, now: float, most: float) -> float:
        """Seconds until a request may ask; 0 for now."""
        wait = min(self.until, self._since + most) - now
        return wait if wait > _AT_ONCE else 0.0

    def is_over(self, now: float) -> bool:
        return self.until - now <= _AT_ONCE

    def is_kept_from(self, now: float, most: float) -> bool:
        """Whether it is so long that only a probe may ask, and none may now."""
        return self.until - self._since > most and self.wait(now, most) > 0

    def enter(self, now: float, most: float) -> bool:
        """A request is about to ask; whether it is the probe of a long rest."""
        if self.is_over(now) or self.wait(now, most) > 0:
            return False
        self._since = now
        return True

    def give_up_probe(self, now: float, most: float) -> None:
        """The probe told nothing."""
        self._since = min(self._since, now + _GIVEN_UP - most)
