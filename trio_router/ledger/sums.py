"""Sums of what requests cost, by whatever they are grouped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.ledger.queries import SpendLine
from trio_router.ledger.rows import RowState
from trio_router.ledger.windows import day_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.ledger.queries import By
    from trio_router.ledger.rows import LedgerRow, RowAttempt


def summed(rows: Iterable[LedgerRow], by: By) -> list[SpendLine]:
    """One line for each group, the most expensive first, then by name."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        if row.state is RowState.RESERVED:
            continue
        groups = {group for group, _ in _groups(row, by)}
        for group in groups:
            sums.setdefault(group, [0] * 7)[0] += 1
        for group, attempt in _groups(row, by):
            if attempt is not None:
                _add(sums[group], attempt)
    lines = [SpendLine(group, *figures) for group, figures in sums.items()]
    return sorted(lines, key=lambda line: (-line.cost, line.group))


def _groups(row: LedgerRow, by: By) -> list[tuple[str, RowAttempt | None]]:
    """Each attempt with its group; a row without any belongs to a group all the same, if it can."""
    match by:
        case "provider":
            return [(attempt.provider, attempt) for attempt in row.attempts]
        case "model":
            return [(attempt.target, attempt) for attempt in row.attempts]
        case "day":
            group = day_of(row.began_at)
        case "key":
            group = row.key
        case "team":
            group = row.team
    return [(group, None), *((group, attempt) for attempt in row.attempts)]


def _add(figures: list[int], attempt: RowAttempt) -> None:
    used = attempt.used
    has_used = used.input is not None or used.output is not None or attempt.cost is not None
    for place, amount in enumerate(
        (
            1,
            used.input or 0,
            used.output or 0,
            attempt.cost or 0,
            used.is_estimated,
            has_used and attempt.cost is None,
        ),
        1,
    ):
        figures[place] += amount
