"""One cancel scope for all the limits of an attempt: its deadline moves from phase to phase."""

from __future__ import annotations

import math

import trio


class Watchdog:
    """Cancels `scope` when the current phase has lasted longer than its limit, or all of them `total`.

    Limits are in seconds, None means never.  After the scope was cancelled, `phase` and `limit` say
    what took too long.  One scope serves the whole attempt: none is made per event.
    """

    def __init__(self, total: float | None) -> None:
        self.scope = trio.CancelScope()
        self.phase = "total"
        self.limit = total
        self._total = total
        self._end = math.inf if total is None else trio.current_time() + total
        self.scope.deadline = self._end

    def enter(self, phase: str, limit: float | None) -> None:
        """From now on `phase` is what takes time, and may take `limit` seconds."""
        deadline = math.inf if limit is None else trio.current_time() + limit
        if deadline < self._end:
            self.phase, self.limit = phase, limit
        else:
            self.phase, self.limit, deadline = "total", self._total, self._end
        self.scope.deadline = deadline

    def rest(self) -> None:
        """Nothing is late any more: what was waited for is here."""
        self.scope.deadline = math.inf
