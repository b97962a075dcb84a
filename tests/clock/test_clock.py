"""The clock of the system, and one that stands in its place."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import replace

import pytest

from trio_router.clock.clock import SYSTEM


def test_the_systems_wall_time_is_unix_time():
    before = time.time()
    assert before <= SYSTEM.wall() <= time.time()


def test_the_systems_monotonic_time_never_goes_back():
    times = [SYSTEM.monotonic() for _ in range(1000)]
    assert times == sorted(times)


def test_random_numbers_are_at_least_zero_and_below_one_and_differ():
    numbers = [SYSTEM.random() for _ in range(1000)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) > 990


@pytest.mark.parametrize("size", [0, 1, 16, 33])
def test_a_token_has_as_many_bytes_as_asked_for(size):
    token = SYSTEM.token(size)
    assert isinstance(token, bytes)
    assert len(token) == size


def test_no_two_tokens_are_the_same():
    assert len({SYSTEM.token(16) for _ in range(1000)}) == 1000


def test_a_clock_is_a_value_of_which_one_part_can_be_replaced():
    stopped = replace(SYSTEM, wall=lambda: 7.0)
    assert stopped.wall() == 7.0
    assert stopped.monotonic is SYSTEM.monotonic
    with pytest.raises(dataclasses.FrozenInstanceError):
        stopped.wall = time.time
