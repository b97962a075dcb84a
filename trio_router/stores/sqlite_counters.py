"""What the SQLite store does with counters, leases and rows: each function runs in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trio_router.ledger.ceilings import (
    MINUTE,
    SLICE,
    TICK,
    Grant,
    Level,
    Refused,
    Taken,
    leaves,
    longest,
    room_after,
    slice_of,
    tick_of,
)
from trio_router.ledger.rows import LedgerRow, RowAttempt, RowState, charged, expired, next_row
from trio_router.stores.interface import LeaseLost, Synced

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from trio_router.ledger.ceilings import Ceiling, Change, Want
    from trio_router.stores.interface import Batch

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerRow).decode
_MORE = "on conflict do update set amount = amount + excluded.amount"


def join(db: Connection, worker: str, lease: float, now: float) -> int:
    db.execute("insert or replace into workers (name, ends) values (?, ?)", (worker, now + lease))
    return accounts(db)


def accounts(db: Connection) -> int:
    """A number that rises with every change of keys and teams."""
    number: int = db.execute("select coalesce(max(number), 0) from audit").fetchone()[0]
    return number


def take(db: Connection, worker: str, wants: Sequence[Want], now: float) -> Taken | Refused:
    if not _is_alive(db, worker, now):
        raise LeaseLost
    used = [_used(db, want.ceiling, now) for want in wants]
    refusals = [
        _refusal(db, want, amount, now)
        for want, amount in zip(wants, used, strict=True)
        if not want.ceiling.is_soft and amount + want.amount > want.ceiling.most
    ]
    if refusals:
        return longest(refusals)
    granted = zip(wants, used, strict=True)
    return Taken(tuple(_grant(db, worker, want, amount, now) for want, amount in granted))


def _is_alive(db: Connection, worker: str, now: float) -> bool:
    found = db.execute("select 1 from workers where name = ? and ends > ?", (worker, now))
    return found.fetchone() is not None


def _used(db: Connection, ceiling: Ceiling, now: float) -> int:
    level = _level(db, ceiling, now)
    return level.used + level.held


def _level(db: Connection, ceiling: Ceiling, now: float) -> Level:
    counter = ceiling.counter
    if ceiling.kind.slides:
        query = "select coalesce(sum(amount), 0) from minutes where counter = ? and at > ?"
        return Level(db.execute(query, (counter, tick_of(now))).fetchone()[0])
    query = (
        "select coalesce((select amount from spent where counter = ?), 0),"
        " coalesce((select sum(amount) from held where counter = ?), 0)"
    )
    return Level(*db.execute(query, (counter, counter)).fetchone())


def _refusal(db: Connection, want: Want, used: int, now: float) -> Refused:
    ceiling = want.ceiling
    if not ceiling.kind.slides or want.amount > ceiling.most:
        return Refused(ceiling, used, room_after(ceiling, want.amount, now))
    over, last = used + want.amount - ceiling.most, tick_of(now)
    query = "select at, amount from minutes where counter = ? and at > ? order by at"
    for at, amount in db.execute(query, (ceiling.counter, last)):
        if over <= 0:
            break
        over, last = over - amount, at
    return Refused(ceiling, used, max(0.0, last * TICK - now))


def _grant(db: Connection, worker: str, want: Want, used: int, now: float) -> Grant:
    ceiling = want.ceiling
    used += want.amount
    extra = slice_of(want.extra, ceiling.most - used, ceiling.most)
    if not ceiling.kind.slides:
        holding = (ceiling.counter, worker, want.amount + extra)
        db.execute(f"insert into held values (?, ?, ?) {_MORE}", holding)
        return Grant(want.amount, extra, used + extra)
    at, extra_at = leaves(now), leaves(now, SLICE + MINUTE)
    for amount, tick in ((want.amount, at), (extra, extra_at)):
        if amount:
            entry = (ceiling.counter, tick, amount)
            db.execute(f"insert into minutes values (?, ?, ?) {_MORE}", entry)
    return Grant(want.amount, extra, used + extra, at, extra_at)


def sync(db: Connection, batch: Batch, lease: float, now: float) -> Synced:
    worker = batch.worker
    found = db.execute("select ends, batch from workers where name = ?", (worker,)).fetchone()
    is_alive = found is not None and found[0] > now
    is_new = found is None or batch.number > found[1]
    if is_alive:
        values = (now + lease, max(batch.number, found[1]), worker)
        db.execute("update workers set ends = ?, batch = ? where name = ?", values)
    if is_new:
        write(db, batch.rows)
        if is_alive:
            _change(db, worker, batch.changes, now)
    return Synced(is_alive, accounts(db))


def _change(db: Connection, worker: str, changes: Sequence[Change], now: float) -> None:
    first = leaves(now, 0)
    given = [(c.counter, worker, -c.amount) for c in changes if not c.at and c.amount < 0]
    less = [(-c.amount, c.counter, c.at) for c in changes if c.at > first and c.amount < 0]
    more = [(c.counter, c.at, c.amount) for c in changes if c.at > first and c.amount > 0]
    _give_back(db, given)
    update = "update minutes set amount = max(0, amount - ?) where counter = ? and at = ?"
    db.executemany(update, less)
    db.executemany(f"insert into minutes values (?, ?, ?) {_MORE}", more)


def _give_back(db: Connection, given: Sequence[tuple[str, str, int]]) -> None:
    """Takes amounts from what workers hold: counter, worker, amount."""
    update = "update held set amount = max(0, amount - ?) where counter = ? and worker = ?"
    db.executemany(update, [(amount, counter, worker) for counter, worker, amount in given])


def write(db: Connection, rows: Sequence[LedgerRow]) -> None:
    """Takes rows; what they settle goes over from what their workers hold to what is spent."""
    ended = {row.id: row for row in rows if row.state is not RowState.RESERVED}
    if ended:
        _write_ended(db, ended)
    reserved = [row for row in rows if row.state is RowState.RESERVED and row.id not in ended]
    insert = (
        "insert or replace into reserved select ?1, ?2, ?3, ?4, ?5, ?6, ?7"
        " where not exists (select 1 from rows where id = ?1)"
    )
    db.executemany(insert, map(_values, reserved))


def _values(row: LedgerRow) -> tuple[str, float, str, str, str, str, str]:
    body = _encode(row).decode()
    return row.id, row.began_at, row.worker, row.key, row.team, row.model, body


def _write_ended(db: Connection, said: dict[str, LedgerRow]) -> None:
    query = "select body from rows where id in (select value from json_each(?))"
    found = db.execute(query, (_encode(list(said)).decode(),)).fetchall()
    known = {row.id: row for row in (_decode(body) for (body,) in found)}
    new = [row for row in said.values() if next_row(known.get(row.id), row) is not None]
    db.executemany("delete from reserved where id = ?", [(row.id,) for row in new])
    again = [(row.id,) for row in new if row.id in known]
    db.executemany("delete from attempts where row = ?", again)
    db.executemany("insert or replace into rows values (?, ?, ?, ?, ?, ?, ?)", map(_values, new))
    attempts = [(row.id, attempt) for row in new for attempt in row.attempts]
    insert = "insert into attempts values (?, ?, ?, ?, ?, ?, ?, ?)"
    db.executemany(insert, (_of_attempt(*one) for one in attempts))
    _charge(db, known, new)


def _of_attempt(row: str, attempt: RowAttempt) -> tuple[str | int | None, ...]:
    used, cost = attempt.used, attempt.cost
    is_used = used.input is not None or used.output is not None or cost is not None
    counts = (is_used, used.input or 0, used.output or 0, cost, used.is_estimated)
    return row, attempt.provider, attempt.target, *counts


def _charge(db: Connection, known: dict[str, LedgerRow], new: Sequence[LedgerRow]) -> None:
    spent: dict[str, int] = {}
    given: dict[tuple[str, str], int] = {}
    for row in new:
        for counter, amount in charged(known.get(row.id), row).items():
            spent[counter] = spent.get(counter, 0) + amount
            if row.id not in known:
                place = counter, row.worker
                given[place] = given.get(place, 0) + amount
    for counter, amount in spent.items():
        db.execute(f"insert into spent values (?, ?) {_MORE}", (counter, amount))
    _give_back(db, [(*place, amount) for place, amount in given.items()])


def expire(db: Connection, now: float) -> list[LedgerRow]:
    over = db.execute("select name from workers where ends <= ?", (now,)).fetchall()
    ended = [row for (worker,) in over for row in end(db, worker, now)]
    db.execute("delete from minutes where at <= ?", (tick_of(now),))
    return ended


def end(db: Connection, worker: str, now: float) -> list[LedgerRow]:
    """Ends what belongs to a worker."""
    db.execute("delete from workers where name = ?", (worker,))
    reserved = "select body from reserved where worker = ? order by id"
    ended = [expired(_decode(body), now) for (body,) in db.execute(reserved, (worker,)).fetchall()]
    write(db, ended)
    db.execute("delete from held where worker = ?", (worker,))
    return ended


def levels(db: Connection, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
    return [_level(db, ceiling, now) for ceiling in ceilings]


def rebuild(db: Connection) -> None:
    db.execute("delete from spent")
    db.execute(
        "insert into spent select charge.key, sum(charge.value)"
        " from rows, json_each(rows.body, '$.charges') as charge group by charge.key"
    )
