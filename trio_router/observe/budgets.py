"""The gauges of budgets: what is left of those that were asked lately."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.ledger.ceilings import Counting
from trio_router.money import dollars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.ledger.ceilings import Ceiling
    from trio_router.observe.metrics import Metrics

# Whose budgets have a gauge.  There may be any number of keys, so keys have none.
_SHOWN = frozenset({"team", "provider", "model"})
_MOST = 200  # budgets with a gauge: teams can be made at run time


class BudgetGauges:
    """One process's gauges."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # By their labels: when the window ends, and nano-dollars of the next one.
        self._shown: dict[tuple[str, str], tuple[float | None, int]] = {}

    def show(self, known: Iterable[tuple[Ceiling, int]]) -> None:
        """Sets the gauges of ceilings, each with what is left of it."""
        for ceiling, left in known:
            if ceiling.kind is not Counting.BUDGET or ceiling.scope not in _SHOWN:
                continue
            labels = ceiling.counter.partition(" ")[0], ceiling.per
            if labels in self._shown or len(self._shown) < _MOST:
                self._shown[labels] = ceiling.ends, ceiling.most
                self._metrics.budget_remaining.labels(*labels).set(dollars(left))
                self._metrics.budget.labels(*labels).set(dollars(ceiling.most))

    def settle(self, now: float) -> None:
        """A window that has ended at the Unix time `now` is followed by one that is not used yet.

        Without this, a budget that nobody asks after its window would stay near its end.
        """
        for labels, (ends, most) in self._shown.items():
            if ends is not None and ends <= now:
                self._shown[labels] = None, most
                self._metrics.budget_remaining.labels(*labels).set(dollars(most))
