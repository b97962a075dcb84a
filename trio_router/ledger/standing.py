"""The ceilings that an account has of its own, in the order in which they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.ledger.ceilings import Ceiling, Counting
from trio_router.ledger.windows import window_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.ledger.accounts import Account, MoneyBudget


def ceilings_of(scope: str, name: str, account: Account, now: float) -> list[Ceiling]:
    """All ceilings of the account `name` at the Unix time `now`, but for those on single models."""
    limits = account.limits
    kinds = (
        (Counting.REQUESTS, limits.requests_per_minute),
        (Counting.TOKENS, limits.tokens_per_minute),
        (Counting.PARALLEL, limits.parallel),
    )
    own = [
        Ceiling(f"{scope}:{name} {kind}", kind, most, scope) for kind, most in kinds if most is not None
    ]
    return [*own, *_budgets(scope, name, account.budgets, now)]


def _budgets(scope: str, name: str, budgets: tuple[MoneyBudget, ...], now: float) -> Iterator[Ceiling]:
    for budget in budgets:
        window = window_at(budget.per, budget.timezone, now)
        yield Ceiling(
            f"{scope}:{name} usd {window.name}",
            Counting.BUDGET,
            budget.nanos,
            scope,
            budget.mode,
            window.ends,
            budget.grace,
        )
