"""Worlds by their seeds: every promise is kept in each.

Seeds that nobody has run before are hunted by `.ci/run`, which tells of what they find; these here are
known, so that a failure is a change's and not chance's.
"""

from __future__ import annotations

from trio_router.simulation.runs import Series, run_seed


def run(seeds: range) -> None:
    series = Series()
    for seed in seeds:
        result = run_seed(seed)
        series.add(result)
        told = "\n".join(map(str, result.failures[:10]))
        assert not result.failures, f"python -m trio_router.simulation --seed {seed} --trace\n{told}"


def test_known_seeds_keep_every_promise():
    run(range(20))
