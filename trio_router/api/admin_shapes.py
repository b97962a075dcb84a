"""How keys, teams, ceilings, rows and sums are told, as JSON or CSV.  Pure.

No secret and no hash of one is in any of it.  Times are Unix seconds, money is US dollars.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.ledger.ceilings import Counting
from trio_router.money import dollars, plain
from trio_router.policy.standing import budget_left, limit_told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trio_router.ledger.accounts import Account, Key, Limits, MoneyBudget, Team
    from trio_router.ledger.ceilings import Ceiling, Level
    from trio_router.ledger.queries import AuditEntry, SpendLine
    from trio_router.ledger.rows import LedgerRow, RowAttempt

OTHERS = "(others)"
MOST_GROUPS = 20  # of sums by day; the rest is one group
COLUMNS = ("requests", "attempts", "input_tokens", "output_tokens", "estimated", "unpriced")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a table program would run


def key_told(key: Key, now: float) -> dict[str, Any]:
    """A key, as lists and answers have it."""
    return {
        "object": "key",
        "id": key.id,
        "state": key_state(key, now),
        "team": key.team,
        **_account(key),
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "old_key_until": key.old_until if key.old_hash and key.old_until > now else None,
        "read_only": key.is_of_file,
    }


def key_state(key: Key, now: float) -> str:
    """`active`, `expired` or `revoked`."""
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def team_told(team: Team, *, is_of_file: bool = False) -> dict[str, Any]:
    """A team, as lists and answers have it."""
    return {"object": "team", "id": team.id, **_account(team), "read_only": is_of_file}


def _account(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "models": list(account.models),
        "limits": limits_told(account.limits),
        "model_limits": {pattern: limits_told(one) for pattern, one in account.model_limits.items()},
        "budgets": [budget_told(budget) for budget in account.budgets],
        "tags": list(account.tags),
        "metadata": account.metadata,
        "created_at": account.created_at,
    }


def limits_told(limits: Limits) -> dict[str, int]:
    """The limits that there are."""
    told = msgspec.structs.asdict(limits)
    return {name: most for name, most in told.items() if most is not None}


def budget_told(budget: MoneyBudget) -> dict[str, Any]:
    told = {"usd": dollars(budget.nanos), "per": budget.per, "mode": budget.mode}
    return {**told, "timezone": budget.timezone, "grace": budget.grace}


def ceilings_told(ceilings: Iterable[Ceiling], levels: Iterable[Level]) -> list[dict[str, Any]]:
    """Each ceiling, and how near it is, as `GET /v1/key` tells them."""
    return [
        {"limit": "budget", **budget_left(ceiling, level)}
        if ceiling.kind is Counting.BUDGET
        else limit_told(ceiling, level)
        for ceiling, level in zip(ceilings, levels, strict=True)
    ]


def row_told(row: LedgerRow) -> dict[str, Any]:
    """A request with its attempts and what each of them cost."""
    return {
        "object": "request",
        "id": row.id,
        "request_id": row.request_id,
        "state": str(row.state),
        "began_at": row.began_at,
        "ended_at": row.ended_at,
        "key": row.key or None,
        "team": row.team or None,
        "model": row.model,
        "operation": row.operation,
        "outcome": row.outcome,
        "status": row.status,
        "cost_usd": dollars(row.cost),
        "estimated": row.is_estimated,
        "unpriced": row.is_unpriced,
        "charges_usd": {counter: dollars(amount) for counter, amount in row.charges.items()},
        "attempts": [_attempt(attempt) for attempt in row.attempts],
        "tags": list(row.tags),
    }


def _attempt(attempt: RowAttempt) -> dict[str, Any]:
    used = msgspec.structs.asdict(attempt.used)
    is_estimated = used.pop("is_estimated")
    told_cost = used.pop("told_cost")
    usage = {name: amount for name, amount in used.items() if amount is not None}
    return {
        "target": attempt.target,
        "outcome": attempt.outcome,
        "usage": usage,
        "estimated": is_estimated,
        "cost_usd": None if attempt.cost is None else dollars(attempt.cost),
        "told_cost_usd": None if told_cost is None else dollars(told_cost),
        "price": attempt.price,
    }


def audit_told(entry: AuditEntry) -> dict[str, Any]:
    """An administrative act: who did what to whom, and when."""
    return msgspec.structs.asdict(entry)


def spend_told(line: SpendLine) -> dict[str, Any]:
    """The sum of a group."""
    figures = (line.requests, line.attempts, line.input, line.output, line.estimated, line.unpriced)
    return {
        "group": line.group,
        "cost_usd": dollars(line.cost),
        **dict(zip(COLUMNS, figures, strict=True)),
    }


def spend_csv(by: str, lines: Iterable[SpendLine]) -> bytes:
    """The sums as a table, with a heading; money in plain decimal digits, exactly."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow([by, "cost_usd", *COLUMNS])
    for line in lines:
        told = spend_told(line)
        group = f"'{line.group}" if line.group.startswith(_FORMULA) else line.group
        table.writerow([group, plain(line.cost), *(told[name] for name in COLUMNS)])
    return out.getvalue().encode()


def days_told(days: Sequence[str], sums: Sequence[Sequence[SpendLine]]) -> list[dict[str, Any]]:
    """The groups, each with its cost on each of the days, the most expensive first."""
    costs: dict[str, list[int]] = {}
    for place, lines in enumerate(sums):
        for line in lines:
            costs.setdefault(line.group, [0] * len(days))[place] += line.cost
    ranked = sorted(costs.items(), key=lambda item: (-sum(item[1]), item[0]))
    told = [_group(group, amounts) for group, amounts in ranked[:MOST_GROUPS]]
    if rest := [amounts for _, amounts in ranked[MOST_GROUPS:]]:
        told.append(_group(OTHERS, [sum(day) for day in zip(*rest, strict=True)]))
    return told


def _group(group: str, amounts: list[int]) -> dict[str, Any]:
    return {
        "group": group,
        "cost_usd": dollars(sum(amounts)),
        "days": [dollars(one) for one in amounts],
    }


def listed(
    entries: Sequence[Mapping[str, Any]], following: str | int | None, **more: Any
) -> dict[str, Any]:
    """A page: `next` is what the next one is asked for with, null if there is none."""
    return {"object": "list", **more, "data": list(entries), "next": following}
