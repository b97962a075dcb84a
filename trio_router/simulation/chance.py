"""Chance that a seed decides: the same on every machine and every Python."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Chance:
    """A stream of random choices, named by `words`: equal words give equal choices.

    Only `random()` of Python's generator is used, whose sequence Python promises to keep.
    """

    __slots__ = ("random",)

    def __init__(self, *words: object) -> None:
        self.random = random.Random("/".join(map(str, words))).random

    def odds(self, share: float) -> bool:
        """True in `share` (0 to 1) of all cases."""
        return self.random() < share

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` - 1."""
        return int(self.random() * end)

    def whole(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`, both included."""
        return least + int(self.random() * (most - least + 1))

    def between(self, least: float, most: float) -> float:
        return least + self.random() * (most - least)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.random() * len(choices))]

    def pick_by(self, weighted: Sequence[tuple[float, T]]) -> T:
        """One of the choices, each as often as its weight says."""
        place = self.random() * sum(weight for weight, _ in weighted)
        for weight, choice in weighted:
            place -= weight
            if place < 0:
                return choice
        return weighted[-1][1]

    def shuffle(self, items: list[T]) -> None:
        for end in range(len(items) - 1, 0, -1):
            other = int(self.random() * (end + 1))
            items[end], items[other] = items[other], items[end]
