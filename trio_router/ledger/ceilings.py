"""What a request takes of its ceilings, and what a store answers.

Two kinds of counter stand behind four kinds of ceiling.

- *A sliding minute* (requests, tokens): what is counted leaves by itself, 60 s later.  Each
  amount leaves at a tick, and amounts that leave at one tick are one entry.
- *A holding* (parallel requests, budgets): what a worker has taken is its own until the worker gives it
  back, or settles it (then it is *spent*, for ever), or its lease ends.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil, floor, inf

import msgspec

MINUTE = 60
SLICE = 2  # s for which a worker may use what it took of a sliding minute in advance
_SOON = 1.0  # s; nobody knows when a running request ends
TICK = 0.02  # s; a minute is never shorter for it, and at most two ticks longer


class Counting(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"
    PARALLEL = "parallel"
    BUDGET = "budget"

    def __init__(self, name: str) -> None:
        # Whether it counts a sliding minute, in place of what is held.
        self.slides = name in ("requests", "tokens")


class Ceiling(msgspec.Struct, frozen=True):
    """At most `most` (requests, tokens, slots, nano-dollars) under the name `counter`.

    A soft one never refuses.  `ends` is when the budget's window ends, in Unix seconds.
    """

    counter: str
    kind: Counting
    most: int
    scope: str  # key, team, model, provider or key_model: few, for they label a metric
    mode: str = "strict"
    ends: float | None = None
    grace: float = 0
    per: str = ""  # of a budget

    @property
    def is_soft(self) -> bool:
        return self.mode == "soft"


class Want(msgspec.Struct, frozen=True):
    """`amount` is needed.  `extra` would be welcome on top, to spend without asking again."""

    ceiling: Ceiling
    amount: int
    extra: int = 0


class Grant(msgspec.Struct, frozen=True):
    """What was taken for one want.

    `used` is what all workers together have counted, hold and have spent after it.  In a sliding minute
    `amount` leaves at the tick `at`, and `extra` at the tick `extra_at`.
    """

    amount: int
    extra: int
    used: int
    at: int = 0
    extra_at: int = 0


class Taken(msgspec.Struct, frozen=True):
    """Everything was taken: one grant for each want, in order."""

    grants: tuple[Grant, ...]


class Refused(msgspec.Struct, frozen=True):
    """Nothing was taken.  `ceiling` is the one that lacks room for longest, `used` what it counts.

    `after` is in how many seconds there is room, if nobody else asks: of parallel requests a guess, of
    a budget the end of its window.  None: no time brings it, for a budget has no end, or the want is
    larger than its ceiling.
    """

    ceiling: Ceiling
    used: int
    after: float | None = None


class Change(msgspec.Struct, frozen=True):
    """More or less, unasked: what was used of a slice, what turned out otherwise, what is given back.

    In a sliding minute `at` is the tick at which the entry leaves; one that has left is not changed.
    A holding of the worker (`at` is 0) is only ever given back.  Nothing falls below zero.
    """

    counter: str
    amount: int
    at: int = 0


class Level(msgspec.Struct, frozen=True):
    """What a counter says: what was counted or spent, and what all workers hold beside that."""

    used: int = 0
    held: int = 0


def leaves(now: float, after: float = MINUTE) -> int:
    """The tick at which what is counted now leaves; never too early."""
    return ceil(round((now + after) / TICK, 6))


def tick_of(now: float) -> int:
    """The tick that has come: entries that leave at it, or before it, have left."""
    return floor(round(now / TICK, 6))


def room_after(ceiling: Ceiling, amount: int, now: float) -> float | None:
    """When a ceiling of what is held may have room for `amount`: see `Refused`."""
    if amount > ceiling.most:
        return None
    if ceiling.kind is Counting.PARALLEL:
        return _SOON
    return None if ceiling.ends is None else max(0.0, ceiling.ends - now)


def longest(refusals: list[Refused]) -> Refused:
    """The refusal that no earlier moment than the others lifts."""
    return max(refusals, key=lambda one: inf if one.after is None else one.after)


def slice_of(extra: int, left: int, most: int) -> int:
    """How much of a welcome `extra` is granted where `left` of `most` is left.

    An eighth of what is left above one half: so a slice shrinks as the ceiling nears, and from the
    half on nothing is given in advance, and the ceiling is exact.
    """
    return max(0, min(extra, (left - most // 2) // 8))
