"""How an account stands: its limits and budgets, what is used of them, and when they begin anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.ledger.ceilings import Counting
from trio_router.money import dollars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.ceilings import Ceiling, Level

_NAMES = {
    Counting.REQUESTS: "requests_per_minute",
    Counting.TOKENS: "tokens_per_minute",
    Counting.PARALLEL: "parallel",
}


def standing(
    key: Key | None, team: Team | None, levels: Iterable[tuple[Ceiling, Level]]
) -> dict[str, Any]:
    """What a client is told of its own key."""
    limits, budgets = [], []
    for ceiling, level in levels:
        if ceiling.kind is Counting.BUDGET:
            budgets.append(budget_left(ceiling, level))
        else:
            limits.append(limit_told(ceiling, level))
    return {
        "id": None if key is None else key.id,
        "name": None if key is None else key.name,
        "team": None if team is None else team.id,
        "models": [] if key is None else list(key.models),
        "expires_at": None if key is None else key.expires_at,
        "limits": limits,
        "budgets": budgets,
    }


def limit_told(ceiling: Ceiling, level: Level) -> dict[str, Any]:
    used = level.used + level.held
    left = max(0, ceiling.most - used)
    return {
        "of": ceiling.scope,
        "limit": _NAMES[ceiling.kind],
        "most": ceiling.most,
        "used": used,
        "remaining": left,
    }


def budget_left(ceiling: Ceiling, level: Level) -> dict[str, Any]:
    left = max(0, ceiling.most - level.used - level.held)
    return {
        "of": ceiling.scope,
        "per": ceiling.per,
        "mode": ceiling.mode,
        "usd": dollars(ceiling.most),
        "spent_usd": dollars(level.used),
        "held_usd": dollars(level.held),
        "remaining_usd": dollars(left),
        "resets_at": ceiling.ends,
    }
