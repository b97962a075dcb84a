"""How keys, teams and sums are written on a terminal.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trio_router.wire.names import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BAR = 20  # characters


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]], numbers: int = 0) -> list[str]:
    """Lines of columns as wide as what is in them; the last `numbers` columns stand to the right."""
    cells = [list(heading), *([escaped(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(heading))]
    first = len(heading) - numbers
    return [
        "  ".join(
            cell.rjust(width) if place >= first else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def when(seconds: float | None, nothing: str = "never") -> str:
    """A Unix time in UTC."""
    if not seconds:
        return nothing
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def dollars(amount: float) -> str:
    """Dollars: to the cent, and below one as exactly as is worth reading."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.6f}"


def keys_told(keys: Iterable[dict[str, Any]]) -> list[str]:
    rows = [
        (
            key["id"],
            key["name"] or "-",
            key["team"] or "-",
            "file" if key["read_only"] else key["state"],
            when(key["expires_at"]),
            ceilings_in_short(key),
        )
        for key in keys
    ]
    return table(("ID", "NAME", "TEAM", "STATE", "EXPIRES", "CEILINGS"), rows)


def teams_told(teams: Iterable[dict[str, Any]]) -> list[str]:
    rows = [
        (
            team["id"],
            team["name"] or "-",
            "file" if team["read_only"] else "-",
            ceilings_in_short(team),
        )
        for team in teams
    ]
    return table(("ID", "NAME", "FROM", "CEILINGS"), rows)


_SHORT = {"requests_per_minute": "requests/min", "tokens_per_minute": "tokens/min"}


def ceilings_in_short(account: dict[str, Any]) -> str:
    """The limits and budgets of an account in one line."""
    limits = [f"{most:,} {_SHORT.get(name, name)}" for name, most in account["limits"].items()]
    budgets = [f"{dollars(one['usd'])}/{one['per']} {one['mode']}" for one in account["budgets"]]
    return ", ".join([*limits, *budgets]) or "-"


def account_told(account: dict[str, Any]) -> list[str]:
    """All of one key or team: a line a field, then its ceilings as bars."""
    facts = [
        ("id", account["id"]),
        ("name", account["name"]),
        ("state", account.get("state")),
        ("team", account.get("team")),
        ("models", ", ".join(account["models"]) or "all"),
        ("ceilings", ceilings_in_short(account)),
        *((f"on {pattern}", _limits(limits)) for pattern, limits in account["model_limits"].items()),
        ("tags", ", ".join(account["tags"])),
        *((f"metadata {name}", text) for name, text in account["metadata"].items()),
        ("created", when(account["created_at"], "")),
        ("expires", when(account["expires_at"]) if "expires_at" in account else ""),
        ("revoked", when(account.get("revoked_at"), "")),
        ("old key until", when(account.get("old_key_until"), "")),
        ("from", "the configuration's file" if account["read_only"] else ""),
    ]
    told = [(name, escaped(str(value))) for name, value in facts if value]
    width = max(len(name) for name, _ in told)
    lines = [f"{escaped(name).ljust(width)}  {value}" for name, value in told]
    return [*lines, *(_bar(one) for one in account.get("ceilings", ()))]


def _limits(limits: dict[str, int]) -> str:
    return ", ".join(f"{most:,} {_SHORT.get(name, name)}" for name, most in limits.items())


def _bar(ceiling: dict[str, Any]) -> str:
    if ceiling["limit"] == "budget":
        used, most = ceiling["spent_usd"] + ceiling["held_usd"], ceiling["usd"]
        said = f"{dollars(used)} of {dollars(most)}, resets {when(ceiling['resets_at'])}"
    else:
        used, most = ceiling["used"], ceiling["most"]
        said = f"{used:,} of {most:,}"
    filled = round(_BAR * min(1.0, used / most)) if most else _BAR
    limit = ceiling.get("per") or ceiling["limit"]
    name = f"{ceiling['of']} {_SHORT.get(limit, limit)}"
    return f"  {name:<18} [{'#' * filled}{'.' * (_BAR - filled)}] {said}"


def spend_told(told: dict[str, Any]) -> list[str]:
    rows = [
        (
            line["group"] or "-",
            f"{line['requests']:,}",
            f"{line['input_tokens']:,}",
            f"{line['output_tokens']:,}",
            dollars(line["cost_usd"]) + ("+" if line["unpriced"] else ""),
        )
        for line in told["data"]
    ]
    lines = table((told["by"].upper(), "REQUESTS", "INPUT", "OUTPUT", "COST"), rows, numbers=4)
    lines.append(f"{dollars(told['total_usd'])} in all, since {when(told['since'], 'the beginning')}")
    if any(line["unpriced"] for line in told["data"]):
        lines.append("+ some of it has no known price")
    return lines
