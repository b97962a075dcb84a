"""The gauges of budgets and of the store."""

from __future__ import annotations

import pytest

from tests.api.administering import SETTINGS
from tests.stack import memory_stack
from trio_router.ledger.ceilings import Ceiling, Counting
from trio_router.observe.budgets import BudgetGauges
from trio_router.observe.metrics import Metrics

NANO = 1_000_000_000


def budget(owner: str, scope: str = "team", ends: float | None = None, per: str = "day") -> Ceiling:
    name = f"{owner} usd window"
    return Ceiling(name, Counting.BUDGET, 10 * NANO, scope, ends=ends, per=per)


@pytest.fixture
def metrics():
    return Metrics()


def left(metrics, owner: str, per: str = "day") -> float | None:
    labels = {"budget": owner, "per": per}
    return metrics.registry.get_sample_value("trio_router_budget_remaining_usd", labels)


def test_two_budgets_of_one_team_have_a_gauge_each(metrics):
    gauges = BudgetGauges(metrics)
    known = [(budget("team:a"), 3 * NANO), (budget("team:a", per="month"), 7 * NANO)]
    gauges.show(known)
    assert (left(metrics, "team:a"), left(metrics, "team:a", "month")) == (3, 7)


def test_a_budget_that_nobody_asks_after_its_window_is_whole_again(metrics):
    gauges = BudgetGauges(metrics)
    gauges.show([(budget("team:a", ends=100.0), 0), (budget("team:b", per="total"), 0)])
    gauges.settle(99)
    assert left(metrics, "team:a") == 0
    gauges.settle(100)
    assert left(metrics, "team:a") == 10
    assert left(metrics, "team:b", "total") == 0
    gauges.show([(budget("team:a", ends=200.0), 4 * NANO)])
    gauges.settle(101)
    assert left(metrics, "team:a") == 4


def test_keys_and_more_teams_than_anybody_reads_have_none(metrics):
    gauges = BudgetGauges(metrics)
    gauges.show([(budget("key:ada", "key"), 5)])
    gauges.show([(budget(f"team:{number}"), 5) for number in range(1000)])
    text = metrics.text().decode()
    assert "key:ada" not in text
    assert text.count("trio_router_budget_remaining_usd{") == 200


async def test_a_store_that_is_down_is_seen_at_the_next_scrape(autojump_clock):
    async with memory_stack(SETTINGS) as stack:
        keeper = stack.router.counting.keeper
        assert "\ntrio_router_store_down 0.0\n" in (await stack.client.get("/metrics")).text
        keeper.is_down = True
        stack.router.show_states()
        assert stack.router.metrics.registry.get_sample_value("trio_router_store_down") == 1
