"""What a target's latencies say of it; times are seconds of a clock that the tests move."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_router.routing.latency import Latency

SECONDS = st.floats(0.001, 100)


def measured(*seconds: float, at: float = 0.0) -> Latency:
    latency = Latency()
    for one in seconds:
        latency.add(one, at)
    return latency


def test_a_target_that_was_never_asked_is_expected_at_once():
    assert Latency().now(1000.0) == 0.0


def test_a_slow_answer_counts_at_once():
    assert measured(0.1, 0.1, 5.0).now(0.0) == 5.0


def test_a_fast_answer_does_not_hide_a_slow_one_of_just_before():
    assert measured(5.0, 0.1).now(0.0) == pytest.approx(5.0)


def test_a_slow_answer_is_forgiven_with_time():
    latency = measured(5.0)
    assert latency.now(30.0) == pytest.approx(5.0 / 2.718281828, rel=1e-6)
    assert latency.now(300.0) < 0.001


def test_after_a_while_what_is_new_weighs_more_than_what_was():
    latency = measured(5.0)
    latency.add(1.0, 60.0)
    assert 1.0 < latency.now(60.0) < 2.0


def test_a_clock_that_stands_still_or_goes_back_does_no_harm():
    latency = measured(2.0, at=10.0)
    assert latency.now(5.0) == 2.0
    latency.add(1.0, 5.0)
    assert latency.now(5.0) == pytest.approx(2.0)


def test_a_quantile_says_nothing_before_twenty_answers():
    assert measured(*[1.0] * 19).quantile(0.95) is None
    assert measured(*[1.0] * 20).quantile(0.95) == 1.0


def test_a_quantile_is_of_the_last_two_hundred_answers():
    latency = measured(*[9.0] * 200)
    for _ in range(199):
        latency.add(1.0, 0.0)
    assert latency.quantile(1.0) == 9.0
    latency.add(1.0, 0.0)
    assert latency.quantile(1.0) == 1.0


@given(st.lists(SECONDS, min_size=20, max_size=450), st.floats(0.01, 1.0))
def test_the_share_of_answers_within_a_quantile_is_what_was_asked_for(seconds, share):
    latency, last = measured(*seconds), seconds[-200:]
    limit = latency.quantile(share)
    assert limit in last
    assert sum(one <= limit for one in last) >= share * len(last) - 1e-6
    assert sum(one < limit for one in last) < share * len(last) + 1e-6


@given(st.lists(st.tuples(SECONDS, st.floats(0, 20)), min_size=1))
def test_what_is_expected_stays_between_nothing_and_the_slowest(answers):
    latency, now = Latency(), 0.0
    for seconds, pause in answers:
        now += pause
        latency.add(seconds, now)
        assert seconds <= latency.now(now) + 1e-9
    slowest = max(seconds for seconds, _ in answers)
    assert 0 <= latency.now(now + 5) <= latency.now(now) <= slowest + 1e-9
