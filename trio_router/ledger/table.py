"""Which ceilings stand above a request: its key's, its team's, its target's and its provider's.

A ceiling of an account is found once for each of its windows, and then kept.
"""

from __future__ import annotations

from math import inf
from operator import is_
from typing import TYPE_CHECKING

from trio_router.ledger.accounts import Account, matches
from trio_router.ledger.ceilings import Ceiling, Counting
from trio_router.ledger.windows import window_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_router.ledger.accounts import Key, Limits, MoneyBudget, Team

_MOST = 10_000  # accounts and models whose ceilings are kept


class Sold:
    """The limits and budgets of a provider, or of one of its models."""

    __slots__ = ("budgets", "limits")

    def __init__(self, limits: Limits, budgets: tuple[MoneyBudget, ...]) -> None:
        self.limits = limits
        self.budgets = budgets


class Stack:
    """Ceilings that stand together, sorted once: `money` is budgets, `rates` is everything else."""

    __slots__ = ("all", "grace", "has_strict", "is_watched", "money", "rates")

    def __init__(self, ceilings: tuple[Ceiling, ...] = ()) -> None:
        self.all = ceilings
        self.money = tuple(c for c in ceilings if c.kind is Counting.BUDGET)
        self.rates = tuple(c for c in ceilings if c.kind is not Counting.BUDGET)
        self.has_strict = any(c.mode == "strict" for c in self.money)
        self.is_watched = any(c.mode == "adaptive" for c in self.money)
        self.grace = max((c.grace for c in self.money), default=0.0)


NOTHING = Stack()


class CeilingTable:
    """`sold` has the limits of providers and targets, by their names; it may be empty."""

    def __init__(self, sold: dict[str, Sold]) -> None:
        self._sold = sold
        self._lasts: dict[str, tuple[Key, Team | None, float, Stack]] = {}  # by key: the short way
        self._kept: dict[tuple[str, ...], tuple[tuple[object, ...], float, Stack]] = {}

    def of_account(self, key: Key | None, team: Team | None, model: str, now: float) -> Stack:
        """The ceilings of a key and its team for a request for `model`."""
        last = None if key is None or key.model_limits else self._lasts.get(key.id)
        if last is not None and last[0] is key and last[1] is team and now < last[2]:
            return last[3]
        stack, until = self._found(key, team, model, now)
        if key is not None and not (team is not None and team.model_limits):
            if len(self._lasts) >= _MOST:
                self._lasts.clear()
            self._lasts[key.id] = key, team, until, stack
        return stack

    def _found(self, key: Key | None, team: Team | None, model: str, now: float) -> tuple[Stack, float]:
        named = (("key", key), ("team", team))
        whose = [(scope, one.id, one) for scope, one in named if one is not None]
        own = model if any(one.model_limits for _, _, one in whose) else ""
        ids = tuple(f"{scope}:{id_}" for scope, id_, _ in whose)
        return self._of((*ids, own), whose, now)

    def of_target(self, provider: str, target: str, now: float) -> Stack:
        """The ceilings of a provider and of its model, whoever asks."""
        if not self._sold:
            return NOTHING
        named = (("provider", provider), ("model", target))
        whose = [(scope, id_, self._sold[id_]) for scope, id_ in named if id_ in self._sold]
        return self._of(("target", target), whose, now)[0] if whose else NOTHING

    def _of(
        self, name: tuple[str, ...], whose: Sequence[tuple[str, str, Account | Sold]], now: float
    ) -> tuple[Stack, float]:
        """Kept until a window ends, or an account is another; and until when that is."""
        kept, accounts = self._kept.get(name), tuple(account for _, _, account in whose)
        if kept is None or now >= kept[1] or not all(map(is_, kept[0], accounts)):
            if len(self._kept) >= _MOST:
                self._kept.clear()
            found = [c for one in whose for c in _ceilings(*one, now)]
            found += [c for one in whose for c in _of_model(*one, name[-1])]
            until = min((c.ends for c in found if c.ends is not None), default=inf)
            kept = self._kept[name] = accounts, until, Stack(tuple(found))
        return kept[2], kept[1]


def _of_model(scope: str, id_: str, account: Account | Sold, model: str) -> Iterable[Ceiling]:
    if isinstance(account, Account):
        for pattern, limits in account.model_limits.items():
            if matches((pattern,), model):
                yield from _limits(f"{scope}_model", f"{scope}:{id_} of {model}", limits)


def _ceilings(scope: str, id_: str, account: Account | Sold, now: float) -> Iterable[Ceiling]:
    yield from _limits(scope, f"{scope}:{id_}", account.limits)
    for place, budget in enumerate(account.budgets):
        window = window_at(budget.per, budget.timezone, now)
        # Two budgets of one window are one sum with two ceilings: each is counted for itself.
        twin = sum(one.per == budget.per for one in account.budgets[:place])
        name = f"{scope}:{id_} usd {window.name}" + (f" #{twin + 1}" if twin else "")
        yield Ceiling(
            name,
            Counting.BUDGET,
            budget.nanos,
            scope,
            budget.mode,
            window.ends,
            budget.grace,
            budget.per,
        )


def _limits(scope: str, name: str, limits: Limits) -> Iterable[Ceiling]:
    for counting, most in (
        (Counting.REQUESTS, limits.requests_per_minute),
        (Counting.TOKENS, limits.tokens_per_minute),
        (Counting.PARALLEL, limits.parallel),
    ):
        if most is not None:
            yield Ceiling(f"{name} {counting.value}", counting, most, scope)
