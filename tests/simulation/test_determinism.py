"""The same seed gives the same history: again, after others, with other hashes, on another Python."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

from trio_router.simulation.chance import Chance
from trio_router.simulation.runs import run_seed

FEW, MANY = range(100, 108), range(100)
OTHERS = [name for name in os.environ.get("SIMULATION_PYTHONS", "").split(":") if name]
PROGRAM = """
import sys
from trio_router.simulation.runs import run_seed
for seed in map(int, sys.argv[1:]):
    print(seed, run_seed(seed).digest)
"""


@cache
def digests(
    seeds: range, hashes: str = "random", zone: str = "UTC", python: str = sys.executable
) -> dict[str, str]:
    """What another process says, in which strings have these hashes: seed -> digest."""
    command = [python, "-c", PROGRAM, *map(str, seeds)]
    environ = {**os.environ, "PYTHONHASHSEED": hashes, "TZ": zone}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environ, timeout=300, check=False
    )
    assert not done.returncode, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def test_twice_in_one_process():
    one, other = run_seed(41, is_kept=True), run_seed(41, is_kept=True)
    assert one.lines == other.lines
    assert one.digest == other.digest


def test_other_seeds_give_other_histories():
    assert len({run_seed(seed).digest for seed in range(50, 54)}) == 4


def test_that_it_is_watched_changes_nothing():
    assert run_seed(42).digest == run_seed(42, is_kept=True).digest


@pytest.mark.slow
def test_other_hashes_another_zone_and_the_worlds_before_change_nothing():
    told = digests(FEW, "1", "Asia/Tokyo")
    assert len(told) == len(FEW)
    assert told == digests(FEW[::-1], "2", "America/Lima")


@pytest.mark.slow
@pytest.mark.parametrize("hashes", ["0", "3", "4000000000"])
def test_many_seeds_give_the_same_with_other_hashes(hashes):
    assert digests(MANY) == digests(MANY, hashes)


@pytest.mark.slow
@pytest.mark.skipif(not OTHERS, reason="SIMULATION_PYTHONS names no other Python")
@pytest.mark.parametrize("python", OTHERS)
def test_many_seeds_give_the_same_on_another_python(python):
    assert digests(MANY) == digests(MANY, python=python)


def test_chance_is_what_its_words_say():
    # Fixed for ever: seeds in old notes must replay.
    chance = Chance(7, "network")
    assert [chance.below(1000) for _ in range(5)] == KNOWN
    assert Chance(7, "network").random() != Chance(7, "stage").random()


KNOWN = [145, 534, 925, 704, 989]
