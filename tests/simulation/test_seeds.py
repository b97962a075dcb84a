"""Worlds that nobody has seen: every promise is kept in each."""

from __future__ import annotations

import time

import pytest

from trio_router.simulation.runs import Series, run_seed

FRESH = 2_000_000_000


def run_fresh(seconds: float) -> None:
    series, until = Series(), time.monotonic() + seconds
    seed = FRESH + time.time_ns() // 1000 % FRESH
    while time.monotonic() < until:
        result = run_seed(seed)
        series.add(result)
        told = "\n".join(map(str, result.failures[:10]))
        assert not result.failures, f"python -m trio_router.simulation --seed {seed} --trace\n{told}"
        seed += 1


def test_fresh_seeds_for_a_moment():
    run_fresh(12)


@pytest.mark.slow
def test_fresh_seeds_for_ten_minutes():
    run_fresh(600)
