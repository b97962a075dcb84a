"""One cancel scope for all limits of an attempt.  Its deadline moves from phase to phase."""

from __future__ import annotations

import math

import trio


class Watchdog:
    """Cancels `scope` when the current phase exceeds its limit, or the attempt exceeds `total`.

    Limits are in seconds; None means no limit.  After the scope was cancelled, `phase` and `limit` say
    what took too long.  One scope serves the whole attempt, so that an event costs none.
    """

    scope: trio.CancelScope

    def __init__(self, total: float | None) -> None:
        self.phase = "total"
        self.limit = total
        self._total = total
        self._end = math.inf if total is None else trio.current_time() + total
        self._deadline = self._end
        self.is_over = False  # what was waited for is here: no limit counts any more
        self._progress: float | None = None
        self._progress_end = math.inf

    def first(self, phase: str, limit: float | None) -> None:
        """Before `open`: the attempt begins with `phase`, which may take `limit` seconds."""
        deadline = math.inf if limit is None else trio.current_time() + limit
        if deadline < self._end:
            self.phase, self.limit, self._deadline = phase, limit, deadline

    def open(self) -> trio.CancelScope:
        """The scope, to be entered at once.  A deadline that it is made with costs nothing more."""
        self.scope = trio.CancelScope(deadline=self._deadline)
        return self.scope

    def enter(self, phase: str, limit: float | None) -> None:
        """Begins `phase`, which may take `limit` seconds."""
        deadline = math.inf if limit is None else trio.current_time() + limit
        if deadline < self._end:
            self.phase, self.limit = phase, limit
        else:
            self.phase, self.limit, deadline = "total", self._total, self._end
        self.scope.deadline = deadline

    def read(self, limit: float | None, progress: float | None, *, has_said: bool) -> None:
        """A stream's read has come: the next one may take `limit` seconds.

        The next event with content may take `progress` seconds; they restart when `has_said` is true.
        """
        now = trio.current_time()
        if has_said:
            self._progress = progress
            self._progress_end = math.inf if progress is None else now + progress
        deadline = math.inf if limit is None else now + limit
        if deadline < self._end and deadline < self._progress_end:
            self.phase, self.limit = "read", limit
        elif self._progress_end < self._end:
            self.phase, self.limit, deadline = "progress", self._progress, self._progress_end
        else:
            self.phase, self.limit, deadline = "total", self._total, self._end
        self.scope.deadline = deadline

    def excuse(self, seconds: float) -> None:
        """For `seconds` the client held the stream back: they do not count as lack of progress."""
        self._progress_end += seconds

    def pause(self) -> float:
        """Stops the phase's clock until `go_on`; `total` runs on.  Returns the seconds left."""
        left = self.scope.deadline - trio.current_time()
        self.scope.deadline = self._end
        return left

    def go_on(self, left: float) -> None:
        """Restarts the phase's clock.  `left` is what `pause` returned."""
        self.scope.deadline = min(trio.current_time() + left, self._end)

    def rest(self, linger: float) -> None:
        """What was waited for is here: nothing is late any more, and the attempt ends in `linger` s."""
        self.is_over = True
        self.scope.deadline = trio.current_time() + linger
