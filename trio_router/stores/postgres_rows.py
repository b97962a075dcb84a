"""How the PostgreSQL store writes rows, and what they move from what is held to what is spent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trio_router.ledger.rows import LedgerRow, RowState, charged, expired, next_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

_MOST = 2**53  # tokens: what a provider tells has no bounds, and a column has
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerRow).decode
_PUT = """
    insert into rows values (
        %(id)s, %(began_at)s, %(owner)s, %(state)s, %(key)s, %(team)s, %(model)s,
        %(providers)s, %(targets)s, %(charges)s, %(body)s
    ) on conflict (id) do update set
        began_at = excluded.began_at, owner = excluded.owner, state = excluded.state,
        key = excluded.key, team = excluded.team, model = excluded.model,
        providers = excluded.providers, targets = excluded.targets, charges = excluded.charges,
        body = excluded.body
"""


class Spent(NamedTuple):
    """What a budget's counter has spent.  `version` rises with every change of it."""

    counter: str
    amount: int
    version: int


def plain(text: str) -> str:
    """PostgreSQL knows no NUL in a text, and no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def write(db: Connection[Any], rows: Iterable[LedgerRow], owner: str) -> None:
    """Takes rows; what they settle goes over from what their workers hold to what is spent.

    Needs the lock of the counters.
    """
    rows = list(rows)
    query = "select id, body from rows where id = any(%s)"
    found = db.execute(query, ([plain(row.id) for row in rows],))
    known = {id_: _decode(body) for id_, body in found}
    spent: Counter[str] = Counter()
    settled: Counter[tuple[str, str]] = Counter()
    changed: dict[str, LedgerRow] = {}
    again: list[str] = []  # ids of rows that had attempts
    for row in rows:
        id_ = plain(row.id)
        before = known.get(id_)
        new = next_row(before, row)
        if new is None:
            continue
        known[id_] = changed[id_] = new
        for counter, amount in charged(before, new).items():
            spent[plain(counter)] += amount
            if before is None or before.state is RowState.RESERVED:
                settled[plain(counter), row.worker] += max(0, amount)
        if before is not None and before.state is not RowState.RESERVED:
            again.append(id_)
    if changed:
        _put(db, changed, owner, again)
        _spend(db, spent)
        give_back(db, settled)


def _put(db: Connection[Any], rows: dict[str, LedgerRow], owner: str, again: Sequence[str]) -> None:
    with db.cursor() as cursor:
        cursor.executemany(_PUT, [_columns(id_, row, owner) for id_, row in rows.items()])
        if again:
            cursor.execute("delete from attempts where row_id = any(%s)", (list(again),))
        over = [(id_, row) for id_, row in rows.items() if row.state is not RowState.RESERVED]
        attempts = [values for id_, row in over for values in _attempts(id_, row)]
        if attempts:
            insert = "insert into attempts values (%s, %s, %s, %s, %s, %s, %s, %s)"
            cursor.executemany(insert, attempts)


def _columns(id_: str, row: LedgerRow, owner: str) -> dict[str, Any]:
    return {
        "id": id_,
        "began_at": row.began_at,
        "owner": plain(owner),
        "state": row.state.value,
        "key": plain(row.key),
        "team": plain(row.team),
        "model": plain(row.model),
        "providers": sorted({plain(attempt.provider) for attempt in row.attempts}),
        "targets": sorted({plain(attempt.target) for attempt in row.attempts}),
        "charges": _encode({plain(name): amount for name, amount in row.charges.items()}).decode(),
        "body": _encode(row),
    }


def _attempts(id_: str, row: LedgerRow) -> list[tuple[Any, ...]]:
    found = []
    for one in row.attempts:
        used = one.used
        is_used = used.input is not None or used.output is not None or one.cost is not None
        tokens = min(used.input or 0, _MOST), min(used.output or 0, _MOST)
        counts = (is_used, *tokens, one.cost, used.is_estimated)
        found.append((id_, plain(one.provider), plain(one.target), *counts))
    return found


def _spend(db: Connection[Any], more: Counter[str]) -> None:
    """The order keeps two transactions from waiting for each other."""
    if more:
        db.execute(
            "insert into spent select *, 1 from unnest(%s::text[], %s::bigint[])"
            " on conflict (counter) do update"
            " set amount = spent.amount + excluded.amount, version = spent.version + 1",
            (list(more), list(more.values())),
        )


def give_back(db: Connection[Any], less: Counter[tuple[str, str]]) -> None:
    """Lessens what workers hold: an amount for each (counter, worker)."""
    if less:
        db.execute(
            "update held set amount = greatest(0, held.amount - less.amount)"
            " from unnest(%s::text[], %s::text[], %s::bigint[]) less (counter, worker, amount)"
            " where held.counter = less.counter and held.worker = less.worker",
            ([c for c, _ in less], [plain(w) for _, w in less], list(less.values())),
        )


def spent_of(db: Connection[Any], counters: Sequence[str]) -> list[Spent]:
    """What was spent of each counter; nothing, in version 0, of one that is not known."""
    query = "select counter, amount, version from spent where counter = any(%s)"
    found = {row[0]: Spent(*row) for row in db.execute(query, ([plain(c) for c in counters],))}
    nothing = Spent("", 0, 0)
    return [found.get(plain(c), nothing)._replace(counter=c) for c in counters]


def end_reserved(db: Connection[Any], now: float, alive: Sequence[str] = ()) -> list[LedgerRow]:
    """Ends the reserved rows of all owners that are not there (any more)."""
    query = (
        "select body from rows where state = 'reserved' and owner != all(%s)"
        " and not exists (select from workers where name = owner) order by id for update"
    )
    ended = [expired(_decode(body), now) for (body,) in db.execute(query, (list(alive),))]
    write(db, ended, "")
    return ended


def rebuild(db: Connection[Any]) -> None:
    """Sets what is spent from the rows."""
    db.execute("""
        with sums as (
            select name as counter, sum(amount::bigint) as amount
            from rows, jsonb_each_text(charges) as charge (name, amount)
            where state != 'reserved' group by name
        ), known as (
            select counter, coalesce(sums.amount, 0) as amount
            from spent full join sums using (counter)
        )
        insert into spent select counter, amount, 1 from known
        on conflict (counter) do update
        set amount = excluded.amount, version = spent.version + 1
    """)
