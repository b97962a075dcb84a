"""Whether a target may be asked: closed, open for a while, or half-open for one probe at a time.

It opens after `failures` failures in a row, or when in the last `window` seconds there were as many
and at least half of all answers failed.  Each time it opens again without a whole answer between, it
stays open twice as long, from `base` seconds on, so that a target that has recovered is in use again
within `max` seconds of its recovery: the longest rest is three quarters of `max`, the rest of it is
for the next request to come and to be answered.  A whole answer closes it, whoever asked for it.
A first event closes a half-open one too, on probation: the next failure opens it again.

A probe begins the next rest at once: however long the probe takes to fail, the next one comes in time,
and never more than one comes in a rest.

Times are seconds of one clock, given by the caller.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_router.config.routes import CooldownConfig

_SLICES = 10  # of the window: counts are forgotten by the slice
_RESTING = 0.75  # of `max`: the longest rest


class CircuitState(IntEnum):
    """The numbers are those of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(slots=True)
class Circuit:
    """The circuit of one target, under one configuration."""

    config: CooldownConfig
    open_until: float | None = None  # None: closed
    probe: int = 0  # the number of the probe that is under way; 0: there is none
    _probe_began: float = 0.0
    _probes: int = 0  # numbers given so far
    _probes_before: int = 0  # of them, those given before it opened
    _has_let_go: bool = False  # a probe was given up since the last one that said something
    _is_on_probation: bool = False
    _trusted: int = 0  # the probe that closed it on probation
    _closed_at: float = float("-inf")  # what was asked before tells nothing of the target as it is now
    _good_since: float = float("-inf")  # when the newest request that went well began
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
        """A request is about to ask; the number of the probe that it is, 0 if it is none.

        Who probes says how it ended.
        """
        if self.open_until is None or now < self.open_until:
            return 0
        self._probes += 1
        self.probe, self._probe_began = self._probes, now
        self.open_until = now + self._next_rest()
        return self.probe

    def release_probe(self, probe: int) -> None:
        """The probe ended without saying anything of the target: the next request probes."""
        if self._is_under_way(probe):
            self.probe = 0
            self.open_until = self._probe_began
            self._level -= 1

    def give_up_probe(self, probe: int) -> None:
        """The probe was given up, as by a client that left: the next request probes.

        It does so at once the first time; after that `base` seconds after the probe began, or clients
        without patience would ask a silent target as often as they like.
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
        """A whole answer has come, to a request of the time `began`."""
        self._count(now, 0)
        self._good_since = max(self._good_since, now if began is None else began)
        if self.open_until is not None:
            self._window.clear()
            self._close(now)
        self._is_on_probation = False
        self._streak = self._level = 0

    def failed(self, now: float, *, began: float | None = None, probe: int = 0) -> None:
        """A request of the time `began` has failed."""
        began = now if began is None else began
        if began < self._closed_at and probe != self._trusted:
            return  # it was asked before the target was known to be well again
        self._count(now, 1)
        if not self._streak or now - self._streak_began > self.config.window:
            self._streak, self._streak_began = 0, now
        self._streak += 1
        if self.open_until is None:
            if self._is_on_probation or self._is_enough():
                # What has failed late may be older than what went well since.
                self._open(now, now if began >= self._good_since else began)
        elif self._is_under_way(probe):
            self._forget()
        # else: it was asked before the circuit opened, and tells nothing new

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
        """Seconds; each time twice as many, up to the longest rest."""
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
