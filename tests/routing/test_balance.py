from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from trio_router.config.routes import HedgeConfig
from trio_router.routing import balance
from trio_router.routing.hedge import HedgeBudget, hedge_after
from trio_router.routing.latency import Latency

WEIGHTS = st.lists(st.floats(0.1, 100), min_size=1, max_size=6)


@dataclass
class Load:
    in_flight: int = 0
    ttft: float = 0.0

    def expected(self, now: float) -> float:
        return self.ttft


@given(WEIGHTS, st.randoms(use_true_random=False))
def test_every_order_holds_every_target_once(weights, dice):
    names = [f"t{i}" for i in range(len(weights))]
    loads = [Load(i % 3, i) for i in range(len(weights))]
    everyone = list(range(len(weights)))
    orders = [
        balance.weighted(weights, dice.random),
        balance.Turns().next(names, weights),
        balance.least_in_flight(loads, weights, dice.random),
        balance.lowest_latency(loads, 0.0, dice.random),
        balance.sticky("key", names, weights),
    ]
    assert all(sorted(order) == everyone for order in orders)


def test_weighted_is_first_as_often_as_the_weight_says():
    dice = random.Random(3)
    first = Counter(balance.weighted([5, 3, 2], dice.random)[0] for _ in range(5000))
    assert [first[i] / 5000 for i in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_turns_are_exactly_by_weight_and_spread(weights):
    turns = balance.Turns()
    names = [str(i) for i in range(len(weights))]
    rounds = [turns.next(names, weights)[0] for _ in range(2 * sum(weights))]
    assert Counter(rounds) == {i: 2 * w for i, w in enumerate(weights)}


def test_least_in_flight_counts_by_weight():
    loads = [Load(4), Load(3), Load(9)]
    assert balance.least_in_flight(loads, [1, 1, 10], lambda: 0.5) == [2, 1, 0]


def test_lowest_latency_never_puts_the_worst_of_three_first():
    loads = [Load(0, 0.1), Load(0, 0.5), Load(0, 3)]
    dice = random.Random(3)
    first = Counter(balance.lowest_latency(loads, 0, dice.random)[0] for _ in range(1000))
    assert first[2] == 0
    assert first[0] > first[1] > 0


def test_lowest_latency_sees_the_queue():
    loads = [Load(9, 0.2), Load(0, 0.5)]
    assert balance.lowest_latency(loads, 0, random.Random(1).random)[0] == 1


@given(st.text(), st.integers(2, 8))
def test_a_lost_target_moves_only_its_own_keys(key, count):
    names = [f"t{i}" for i in range(count)]
    order = [names[i] for i in balance.sticky(key, names, [1.0] * count)]
    for gone in names:
        rest = [n for n in names if n != gone]
        left = [rest[i] for i in balance.sticky(key, rest, [1.0] * len(rest))]
        assert left == [n for n in order if n != gone]


def test_sticky_keys_spread_by_weight():
    first = Counter(balance.sticky(str(k), ["a", "b"], [3, 1])[0] for k in range(4000))
    assert first[0] / 4000 == pytest.approx(0.75, abs=0.03)


class TestLatency:
    def test_a_slow_answer_counts_at_once_and_is_forgiven_with_time(self):
        latency = Latency()
        latency.add(0.1, 0)
        latency.add(5, 1)
        assert latency.now(1) == 5
        latency.add(0.1, 31)
        assert latency.now(31) < 2.2
        assert latency.now(1000) < 0.001

    def test_a_quantile_of_few_says_nothing(self):
        latency = Latency()
        for n in range(19):
            latency.add(n, 0)
        assert latency.quantile(0.95) is None
        latency.add(19, 0)
        assert latency.quantile(0.95) == 18

    @given(st.lists(st.floats(0, 100), min_size=20, max_size=450))
    def test_the_quantile_is_that_of_the_last_samples(self, samples):
        latency = Latency()
        for one in samples:
            latency.add(one, 0)
        last = sorted(samples[-200:])
        found = latency.quantile(0.95)
        assert sum(one <= found for one in last) >= 0.95 * len(last)
        assert sum(one < found for one in last) <= 0.95 * len(last)


class TestHedge:
    @given(st.floats(0.01, 1), st.integers(1, 500))
    def test_hedges_stay_within_their_share(self, share, requests):
        budget = HedgeBudget()
        taken = 0
        for _ in range(requests):
            budget.deposit(share)
            taken += budget.take()
        assert taken <= share * requests + 1

    def test_when_it_is(self):
        latency = Latency()
        assert hedge_after(None, latency) is None
        assert hedge_after(HedgeConfig(after=0.8), latency) == 0.8
        assert hedge_after(HedgeConfig(after="p95"), latency) is None
        for _ in range(20):
            latency.add(0.3, 0)
        assert hedge_after(HedgeConfig(after="p95"), latency) == 0.3
