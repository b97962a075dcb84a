"""Worlds, one after the other: run, judged, counted."""

from __future__ import annotations

import gc
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trio_router.simulation.generate import generate
from trio_router.simulation.judge import Failure, judge
from trio_router.simulation.world import World

if TYPE_CHECKING:
    from trio_router.simulation.plan import WorldPlan

_YOUNGEST = 0  # a world is short: all that it made is in the collector's first generation


@dataclass(slots=True)
class WorldResult:
    """What became of one world."""

    plan: WorldPlan
    requests: int
    digest: str
    failures: list[Failure]
    lines: list[str] = field(default_factory=list)  # of its history, if they were kept

    @property
    def has_failed(self) -> bool:
        return bool(self.failures)


def run_plan(plan: WorldPlan, *, is_kept: bool = False) -> WorldResult:
    """One world, from its beginning to its judgement."""
    # What the world before has left are cycles, which only the collector finds.  Every 20 worlds it
    # would take three times as long, and the memory of 20 worlds fits into no cache.
    gc.collect(_YOUNGEST)
    world = World(plan, is_kept=is_kept)
    world.run()
    lines = [str(line) for line in world.history.lines or ()]
    return WorldResult(plan, len(world.got), world.history.digest, judge(world), lines)


def run_seed(seed: int, *, is_kept: bool = False) -> WorldResult:
    return run_plan(generate(seed), is_kept=is_kept)


class Series:
    """Many worlds, in order; the digest is that of all their histories."""

    def __init__(self) -> None:
        self.seeds = 0
        self.requests = 0
        self.failures = 0  # worlds in which a promise was broken
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, result: WorldResult) -> None:
        self.seeds += 1
        self.requests += result.requests
        self.failures += result.has_failed
        self._hash.update(result.digest.encode())

    def __str__(self) -> str:
        digest = self._hash.hexdigest()
        return (
            f"{self.seeds} seeds, {self.requests} requests, {self.failures} failures, digest {digest}"
        )
