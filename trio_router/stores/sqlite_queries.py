"""What the SQLite store tells of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.ledger.queries import MOST_ROWS, RowPage, SpendLine
from trio_router.ledger.rows import LedgerRow

if TYPE_CHECKING:
    from sqlite3 import Connection

    from trio_router.ledger.queries import By, RowFilter

_decode = msgspec.json.Decoder(LedgerRow).decode
_GROUPS = {
    "key": "rows.key",
    "team": "rows.team",
    "day": "date(rows.began_at, 'unixepoch')",
    "model": "attempts.target",
    "provider": "attempts.provider",
}


def row(db: Connection, id: str) -> LedgerRow | None:  # noqa: A002
    found = db.execute("select body from ledger where id = ?", (id,)).fetchone()
    return None if found is None else _decode(found[0])


def rows(db: Connection, of: RowFilter, after: str | None, limit: int) -> RowPage:
    limit = min(limit, MOST_ROWS)
    where, values = _where(of)
    if after is not None:
        where += " and (began_at, id) < (select began_at, id from ledger where id = ?)"
        values.append(after)
    query = f"select body from ledger where {where} order by began_at desc, id desc limit ?"
    found = [_decode(body) for (body,) in db.execute(query, (*values, limit + 1))]
    return RowPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def spend(db: Connection, by: By, of: RowFilter) -> list[SpendLine]:
    where, values = _where(of)
    group = _GROUPS[by]
    join = "join" if by in ("model", "provider") else "left join"
    query = (
        f"select {group} as name, count(distinct rows.id), count(attempts.row),"
        " coalesce(sum(input), 0), coalesce(sum(output), 0), coalesce(sum(cost), 0) as cost,"
        " coalesce(sum(estimated), 0), coalesce(sum(used and cost is null), 0)"
        f" from rows {join} attempts on attempts.row = rows.id"
        f" where {where} group by name order by 6 desc, name"
    )
    return [SpendLine(*line) for line in db.execute(query, values)]


def _where(of: RowFilter) -> tuple[str, list[Any]]:
    """The condition of a filter, with its values.  Nothing of a filter stands in the text."""
    attempt = "exists (select 1 from json_each(body, '$.attempts') as a where {0})"
    provider = "json_extract(a.value, '$.provider')"
    target = f"{provider} || '/' || json_extract(a.value, '$.model')"
    parts = [
        ("key = ?", of.key),
        ("team = ?", of.team),
        (f"model = ? or {attempt.format(f'{target} = ?')}", of.model),
        (attempt.format(f"{provider} = ?"), of.provider),
        ("json_extract(body, '$.state') = ?", of.state),
        ("began_at >= ?", of.since),
        ("began_at < ?", of.until),
    ]
    given = [(text, value) for text, value in parts if value is not None]
    values = [value for text, value in given for _ in range(text.count("?"))]
    return " and ".join(["true", *(f"({text})" for text, _ in given)]), values
