"""Whether a target may be asked: closed, open for a while, or half-open for one probe at a time.

It opens after `failures` failures in a row, or when in the last `window` seconds there were as many
and at least half of all answers failed.  Each time it opens again without a whole answer between, it
stays open twice as long, from `base` to `max` seconds.  A whole answer closes it, whoever asked for it.
A first event closes a half-open one too, on probation: the next failure opens it again.

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


class State(IntEnum):
    """The numbers are those of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(slots=True)
class Circuit:
    """The circuit of one target, under one configuration."""

    config: CooldownConfig
    open_until: float | None = None  # None: closed
    is_probing: bool = False
    _is_on_probation: bool = False
    _streak: int = 0
    _streak_began: float = 0.0
    _level: int = 0  # how often it opened since the last whole answer
    _window: deque[list[float]] = field(default_factory=deque)  # [slice, answers, failures]

    def state(self, now: float) -> State:
        if self.open_until is None:
            return State.CLOSED
        return State.OPEN if now < self.open_until else State.HALF_OPEN

    def may_ask(self, now: float) -> bool:
        state = self.state(now)
        return state is State.CLOSED or (state is State.HALF_OPEN and not self.is_probing)

    def enter(self, now: float) -> bool:
        """A request is about to ask; whether it is the probe.  Who probes says how it ended."""
        if self.state(now) is State.HALF_OPEN and not self.is_probing:
            self.is_probing = True
            return True
        return False

    def release_probe(self) -> None:
        """The probe ended without saying anything of the target: the next request probes."""
        self.is_probing = False

    def answered(self, now: float, *, is_probe: bool) -> None:
        """A first event has come."""
        if is_probe and self.state(now) is not State.OPEN:
            self.open_until = None
            self.is_probing = False
            self._is_on_probation = True

    def succeeded(self, now: float) -> None:
        """A whole answer has come."""
        self._count(now, 0)
        if self.open_until is not None:
            self._window.clear()
        self.open_until = None
        self.is_probing = self._is_on_probation = False
        self._streak = self._level = 0

    def failed(self, now: float, *, is_probe: bool = False) -> None:
        self._count(now, 1)
        if not self._streak or now - self._streak_began > self.config.window:
            self._streak, self._streak_began = 0, now
        self._streak += 1
        if self.open_until is None:
            if self._is_on_probation or self._is_enough():
                self._open(now)
        elif is_probe:
            self._open(now)
        # else: it was asked before the circuit opened, and tells nothing new

    def _is_enough(self) -> bool:
        if self._streak >= self.config.failures:
            return True
        answers = sum(entry[1] for entry in self._window)
        failures = sum(entry[2] for entry in self._window)
        return failures >= self.config.failures and failures * 2 >= answers

    def _open(self, now: float) -> None:
        config = self.config
        self.open_until = now + min(config.max, config.base * 2 ** min(self._level, 30))
        self._level += 1
        self._streak = 0
        self.is_probing = self._is_on_probation = False
        self._window.clear()

    def _count(self, now: float, failures: int) -> None:
        number = now // (self.config.window / _SLICES)
        while self._window and self._window[0][0] <= number - _SLICES:
            self._window.popleft()
        if not self._window or self._window[-1][0] != number:
            self._window.append([number, 0, 0])
        self._window[-1][1] += 1
        self._window[-1][2] += failures
