"""The order in which a route's targets are asked.  Pure: clock and random numbers are passed in."""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Random = Callable[[], float]  # [0, 1)


class Load(Protocol):
    """What is known about a target's load."""

    in_flight: int

    def expected(self, now: float) -> float:
        """Seconds to the first event, from recent answers."""
        ...


class Turns:
    """Smooth weighted round robin, as nginx does it."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def next(self, names: Sequence[str], weights: Sequence[float]) -> list[int]:
        for name, weight in zip(names, weights, strict=True):
            self._credit[name] = self._credit.get(name, 0.0) + weight
        order = sorted(range(len(names)), key=lambda i: -self._credit[names[i]])
        self._credit[names[order[0]]] -= sum(weights)
        return order


def weighted(weights: Sequence[float], random: Random) -> list[int]:
    """A random order; each target comes first as often as its weight says."""
    drawn = [math.log(1.0 - random()) / weight for weight in weights]
    return sorted(range(len(weights)), key=lambda i: -drawn[i])


def least_in_flight(loads: Sequence[Load], weights: Sequence[float], random: Random) -> list[int]:
    """The target with the fewest open answers for its weight comes first; ties are random."""
    keys = [(load.in_flight / weight, random()) for load, weight in zip(loads, weights, strict=True)]
    return sorted(range(len(loads)), key=lambda i: keys[i])


def lowest_latency(loads: Sequence[Load], now: float, random: Random) -> list[int]:
    """Draws two targets at random; the faster comes first, then the others, the fastest first.

    Two random choices rather than the fastest of all, which every request would pick at once.
    """
    # A target with many open requests will be slower than it was.
    cost = [load.expected(now) * (load.in_flight + 1) for load in loads]
    drawn = sorted(range(len(loads)), key=lambda _: random())
    first = min(drawn[:2], key=lambda i: cost[i])
    return [first, *sorted((i for i in drawn if i != first), key=lambda i: cost[i])]


def sticky(key: str, names: Sequence[str], weights: Sequence[float]) -> list[int]:
    """The same order for the same key, whichever other targets come and go: rendezvous hashing."""
    scores = [weight / -math.log(_unit(key, name)) for name, weight in zip(names, weights, strict=True)]
    return sorted(range(len(names)), key=lambda i: -scores[i])


def _unit(key: str, name: str) -> float:
    """A pseudo-random number between 0 and 1, both excluded."""
    digest = blake2b(f"{len(key)}:{key}{name}".encode(errors="replace"), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / (2**64 + 2)
