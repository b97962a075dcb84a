"""The circuit breaker of a target: closed, open for a cooldown, or half-open for one probe at a time.

It opens after `failures` failures in a row, or when the last `window` seconds had as many failures and
at least half of all answers failed.  The first cooldown lasts `base` seconds; each time it opens again
without a whole answer in between, the cooldown doubles.  The longest cooldown is three quarters of
`max`, so that a target is in use again within `max` seconds of its recovery; the last quarter is for
the next request to come and to be answered.  A whole answer to any request closes the circuit.  A
first event closes a half-open circuit on probation: the next failure opens it again.

The next cooldown begins when a probe begins.  So a probe that fails late does not delay the next one,
and there is never more than one probe in a cooldown.

Times are seconds of one clock, given by the caller.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_router.config.routes import CooldownConfig

_SLICES = 10  # parts of the window; counts are forgotten one part at a time
_RESTING = 0.75  # the longest cooldown, as a share of `max`


class CircuitState(IntEnum):
    """The values are those of the metric `trio_router_target_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(slots=True)
class Circuit:
    """The circuit of one target, under one configuration."""

    config: CooldownConfig
    open_until: float | None = None  # None: closed
    probe: int = 0  # the number of the probe that is running; 0: none is
    _probe_began: float = 0.0
    _probes: int = 0  # probes so far
    _probes_before: int = 0  # probes so far when it opened
    _has_let_go: bool = False  # a probe was given up since the last one with a result
    _is_on_probation: bool = False
    _trusted: int = 0  # the probe that closed it on probation
    _closed_at: float = float("-inf")  # requests begun before say nothing about the target's state now
    _good_since: float = float("-inf")  # when the newest successful request began
    _streak: int = 0
    _streak_began: float = 0.0
    _level: int = 0  # how often it opened since the last whole answer
    _window: deque[list[float]] = field(default_factory=deque)  # [slice, answers, failures]

    def state(self, now: float) -> CircuitState:
        if self.open_until is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self.probe or now >= self.open_until else CircuitState.OPEN

    def may_ask(self, now: float) -> bool:
        return self.open_until is None or now >= self.open_until

    def enter(self, now: float) -> int:
        """A request is about to ask.  Returns its number as a probe, 0 if it is none.

        A probe reports its end: `succeeded`, `failed`, `release_probe` or `give_up_probe`.
        """
        if self.open_until is None or now < self.open_until:
            return 0
        self._probes += 1
        self.probe, self._probe_began = self._probes, now
        self.open_until = now + self._next_rest()
        return self.probe

    def release_probe(self, probe: int) -> None:
        """The probe ended without a result about the target: the next request probes."""
        if self._is_under_way(probe):
            self.probe = 0
            self.open_until = self._probe_began
            self._level -= 1

    def give_up_probe(self, probe: int) -> None:
        """The probe was given up, for example because its client left: the next request probes.

        The first time it may do so at once, later only `base` seconds after the probe began; otherwise
        impatient clients would ask a silent target as often as they like.
        """
        if not self._is_under_way(probe):
            return
        had_let_go, self._has_let_go = self._has_let_go, True
        began, rested_until = self._probe_began, self.open_until
        self.release_probe(probe)
        if had_let_go and self.open_until is not None and rested_until is not None:
            self.open_until = min(rested_until, began + self.config.base)

    def answered(self, now: float, *, probe: int = 0) -> None:
        """A first event has come."""
        if self.open_until is not None and probe > self._probes_before:
            self._close(now)
            self._is_on_probation = True
            self._trusted = probe

    def succeeded(self, now: float, *, began: float | None = None) -> None:
        """A whole answer has come to a request that began at `began`."""
        self._count(now, 0)
        self._good_since = max(self._good_since, now if began is None else began)
        if self.open_until is not None:
            self._window.clear()
            self._close(now)
        self._is_on_probation = False
        self._streak = self._level = 0

    def failed(self, now: float, *, began: float | None = None, probe: int = 0) -> None:
        """A request that began at `began` has failed."""
        began = now if began is None else began
        if began < self._closed_at and not (probe and probe == self._trusted):
            return  # it began before the target was known to be healthy again
        self._count(now, 1)
        if not self._streak or now - self._streak_began > self.config.window:
            self._streak, self._streak_began = 0, now
        self._streak += 1
        if self.open_until is None:
            if self._is_on_probation or self._is_enough():
                # A late failure may belong to a request older than one that succeeded since.
                self._open(now, now if began >= self._good_since else began)
        elif self._is_under_way(probe):
            self._forget()
        # else: it began before the circuit opened, and says nothing new

    def _is_under_way(self, probe: int) -> bool:
        return probe != 0 and probe == self.probe and self.open_until is not None

    def _is_enough(self) -> bool:
        if self._streak >= self.config.failures:
            return True
        answers = sum(entry[1] for entry in self._window)
        failures = sum(entry[2] for entry in self._window)
        return failures >= self.config.failures and failures * 2 >= answers

    def _open(self, now: float, since: float) -> None:
        self.open_until = max(now, since + self._next_rest())
        self._probes_before = self._probes
        self._forget()

    def _forget(self) -> None:
        self._streak = self.probe = 0
        self._is_on_probation = self._has_let_go = False
        self._window.clear()

    def _close(self, now: float) -> None:
        self.open_until = None
        self.probe = self._trusted = 0
        self._has_let_go = False
        self._closed_at = now

    def _next_rest(self) -> float:
        """Seconds of the next cooldown: twice the last one, up to the longest."""
        config = self.config
        longest = max(_RESTING * config.max, min(config.base, config.max))
        rest: float = min(longest, config.base * 2 ** min(self._level, 30))
        self._level += 1
        return rest

    def _count(self, now: float, failures: int) -> None:
        number = now // (self.config.window / _SLICES)
        while self._window and self._window[0][0] <= number - _SLICES:
            self._window.popleft()
        if not self._window or self._window[-1][0] != number:
            self._window.append([number, 0, 0])
        self._window[-1][1] += 1
        self._window[-1][2] += failures
