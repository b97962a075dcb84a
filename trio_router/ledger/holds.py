"""What a request is held for before anybody knows what it costs.

`strict` holds the worst case.  The other modes hold what such requests cost: the prompt as it is
guessed, and as many tokens of answer as 95 of 100 such requests had.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from trio_router.dialects.usage import Usage

if TYPE_CHECKING:
    from trio_router.money import Price

BYTES_A_TOKEN = 4  # of a prompt: a rough guess
FIRST_GUESS = 256  # tokens of an answer, while too few have been seen
_ENOUGH = 20  # answers, after which they are believed
_FADES = 1000  # answers, after which all counts are halved: what was long ago counts less
_SHARE = 0.95
_EDGES = tuple(round(16 * 2 ** (step / 4)) for step in range(56))  # tokens: 16 ... 220,000


class AnswerSizes:
    """How long answers were, in tokens: counts in classes, each a fifth wider than the one below."""

    __slots__ = ("_counts", "_total", "usual")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0
        self.usual = FIRST_GUESS  # so many tokens that 95 of 100 answers had no more

    def note(self, tokens: int) -> None:
        """An answer had so many tokens."""
        place = bisect_left(_EDGES, tokens)
        self._counts[place] = self._counts.get(place, 0) + 1
        self._total += 1
        if self._total >= _FADES:
            self._counts = {place: count // 2 for place, count in self._counts.items() if count > 1}
            self._total = sum(self._counts.values())
        if self._total >= _ENOUGH:
            self.usual = self._found()

    def _found(self) -> int:
        left = self._total * (1 - _SHARE)
        for place in sorted(self._counts, reverse=True):
            left -= self._counts[place]
            if left < 0:
                return _EDGES[min(place, len(_EDGES) - 1)]
        return FIRST_GUESS


def usual_usage(asked_bytes: int, usual: int, most: int | None) -> Usage:
    """What a request of so many bytes will probably use; `most` is what its answer may have."""
    return Usage(asked_bytes // BYTES_A_TOKEN, usual if most is None else min(usual, most))


def worst_usage(asked_bytes: int, most: int) -> Usage:
    """What a request of so many bytes can use at most: no token has less than a byte."""
    return Usage(asked_bytes, most)


def worst_cost(price: Price, usage: Usage) -> int:
    """The most that `usage` can cost: nothing is cached, the prompt may be written to a cache."""
    asked, said = usage.input or 0, usage.output or 0
    kinds = (
        usage,
        Usage(asked, said, written=asked),
        Usage(asked, said, written_1h=asked),
        Usage(asked, said, reasoning=said),
    )
    return max(price.cost(kind) or 0 for kind in kinds)
