"""What the PostgreSQL store tells of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.ledger.queries import MOST_ROWS, RowPage, SpendLine
from trio_router.ledger.rows import LedgerRow
from trio_router.stores.postgres_rows import plain

if TYPE_CHECKING:
    from psycopg import Connection

    from trio_router.ledger.queries import By, RowFilter

_decode = msgspec.json.Decoder(LedgerRow).decode
_GROUPS = {
    "key": "rows.key",
    "team": "rows.team",
    "day": "to_char(to_timestamp(rows.began_at) at time zone 'UTC', 'YYYY-MM-DD')",
    "model": "attempts.target",
    "provider": "attempts.provider",
}


def row(db: Connection[Any], id: str) -> LedgerRow | None:  # noqa: A002
    found = db.execute("select body from rows where id = %s", (plain(id),)).fetchone()
    return None if found is None else _decode(found[0])


def rows(db: Connection[Any], of: RowFilter, after: str | None, limit: int) -> RowPage:
    limit = min(limit, MOST_ROWS)
    where, values = _where(of)
    if after is not None:
        where += " and (began_at, id) < (select began_at, id from rows where id = %s)"
        values.append(plain(after))
    query = f"select body from rows where {where} order by began_at desc, id desc limit %s"
    found = [_decode(body) for (body,) in db.execute(query.encode(), (*values, limit + 1))]
    return RowPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def spend(db: Connection[Any], by: By, of: RowFilter) -> list[SpendLine]:
    where, values = _where(of)
    join = "join" if by in ("model", "provider") else "left join"
    query = (
        f'select ({_GROUPS[by]}) collate "C" as name, count(distinct rows.id), count(row_id),'
        " coalesce(sum(input), 0)::bigint, coalesce(sum(output), 0)::bigint,"
        " coalesce(sum(cost), 0)::bigint, count(*) filter (where estimated),"
        " count(*) filter (where used and cost is null)"
        f" from rows {join} attempts on row_id = rows.id"
        f" where state != 'reserved' and {where} group by 1 order by 6 desc, 1"
    )
    return [SpendLine(*line) for line in db.execute(query.encode(), values)]


def _where(of: RowFilter) -> tuple[str, list[Any]]:
    """The condition of a filter, with its values.  Nothing of a filter stands in the text."""
    parts = [
        ("key = %s", of.key),
        ("team = %s", of.team),
        ("%s = any(array_append(targets, model))", of.model),
        ("%s = any(providers)", of.provider),
        ("state = %s", None if of.state is None else of.state.value),
        ("began_at >= %s", of.since),
        ("began_at < %s", of.until),
    ]
    given = [(text, value) for text, value in parts if value is not None]
    values = [plain(value) if isinstance(value, str) else value for _, value in given]
    return " and ".join(["true", *(text for text, _ in given)]), values
