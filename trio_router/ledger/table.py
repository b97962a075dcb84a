"""Which ceilings stand above a request: its key's, its team's, its target's and its provider's.

A ceiling of an account is found once for each of its windows, and then kept.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from trio_router.ledger.accounts import matches
from trio_router.ledger.ceilings import Ceiling, Counting
from trio_router.ledger.windows import window_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.ledger.accounts import Account, Key, Limits, MoneyBudget, Team

_MOST = 10_000  # accounts and models whose ceilings are kept


class Sold:
    """The limits and budgets of a provider, or of one of its models."""

    __slots__ = ("budgets", "limits")

    def __init__(self, limits: Limits, budgets: tuple[MoneyBudget, ...]) -> None:
        self.limits = limits
        self.budgets = budgets


class CeilingTable:
    """`sold` has the limits of providers and targets, by their names; it may be empty."""

    def __init__(self, sold: dict[str, Sold]) -> None:
        self._sold = sold
        self._kept: dict[tuple[str, str], tuple[object, float, tuple[Ceiling, ...]]] = {}

    def of_account(
        self, key: Key | None, team: Team | None, model: str, now: float
    ) -> tuple[Ceiling, ...]:
        """The ceilings of a key and its team for a request for `model`."""
        found: tuple[Ceiling, ...] = ()
        if key is not None:
            found = self._of("key", key.id, key, model, now)
        if team is not None:
            found += self._of("team", team.id, team, model, now)
        return found

    def of_target(self, provider: str, target: str, now: float) -> tuple[Ceiling, ...]:
        """The ceilings of a provider and of its model, whoever asks."""
        if not self._sold:
            return ()
        found: tuple[Ceiling, ...] = ()
        for scope, name in (("provider", provider), ("model", target)):
            if (sold := self._sold.get(name)) is not None:
                found += self._kept_of((scope, name), sold, now)
        return found

    def _of(
        self, scope: str, id_: str, account: Account, model: str, now: float
    ) -> tuple[Ceiling, ...]:
        found = self._kept_of((scope, id_), account, now)
        for pattern, limits in account.model_limits.items():
            if matches((pattern,), model):
                found += tuple(_limits(f"{scope}_model", f"{scope}:{id_} of {model}", limits))
        return found

    def _kept_of(
        self, name: tuple[str, str], account: Account | Sold, now: float
    ) -> tuple[Ceiling, ...]:
        kept = self._kept.get(name)
        if kept is None or kept[0] is not account or now >= kept[1]:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            found = tuple(ceilings_of(*name, account, now))
            until = min((c.ends for c in found if c.ends is not None), default=inf)
            kept = self._kept[name] = (account, until, found)
        return kept[2]


def ceilings_of(scope: str, id_: str, account: Account | Sold, now: float) -> Iterable[Ceiling]:
    """All ceilings of an account at the Unix time `now`, but for those on single models."""
    yield from _limits(scope, f"{scope}:{id_}", account.limits)
    for place, budget in enumerate(account.budgets):
        window = window_at(budget.per, budget.timezone, now)
        # Two budgets of one window are one sum with two ceilings: each is counted for itself.
        twin = sum(one.per == budget.per for one in account.budgets[:place])
        name = f"{scope}:{id_} usd {window.name}" + (f" #{twin + 1}" if twin else "")
        yield Ceiling(
            name, Counting.BUDGET, budget.nanos, scope, budget.mode, window.ends, budget.grace
        )


def _limits(scope: str, name: str, limits: Limits) -> Iterable[Ceiling]:
    for counting, most in (
        (Counting.REQUESTS, limits.requests_per_minute),
        (Counting.TOKENS, limits.tokens_per_minute),
        (Counting.PARALLEL, limits.parallel),
    ):
        if most is not None:
            yield Ceiling(f"{name} {counting.value}", counting, most, scope)
