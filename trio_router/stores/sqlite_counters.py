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
from trio_router.ledger.rows import LedgerRow, RowState, charged, expired, next_row
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
        for row in batch.rows:
            _write(db, row)
        if is_alive:
            for change in batch.changes:
                _change(db, worker, change, now)
    return Synced(is_alive, accounts(db))


def _change(db: Connection, worker: str, change: Change, now: float) -> None:
    if not change.at:
        _give_back(db, change.counter, worker, -change.amount)
    elif change.at > leaves(now, 0):
        entry = (change.counter, change.at, max(0, change.amount))
        update = "on conflict do update set amount = max(0, amount + ?)"
        db.execute(f"insert into minutes values (?, ?, ?) {update}", (*entry, change.amount))


def _give_back(db: Connection, counter: str, worker: str, amount: int) -> None:
    update = "update held set amount = max(0, amount - ?) where counter = ? and worker = ?"
    db.execute(update, (max(0, amount), counter, worker))


def _write(db: Connection, row: LedgerRow) -> None:
    """Takes a row; what it settles goes over from what its worker holds to what is spent."""
    body = db.execute("select body from rows where id = ?", (row.id,)).fetchone()
    known = None if body is None else _decode(body[0])
    new = next_row(known, row)
    if new is None:
        return
    values = (new.id, new.began_at, new.worker, new.state, new.key, new.team, new.model)
    db.execute("insert or replace into rows values (?, ?, ?, ?, ?, ?, ?, ?)", (*values, _encode(new)))
    for counter, amount in charged(known, new).items():
        db.execute(f"insert into spent values (?, ?) {_MORE}", (counter, amount))
        if known is None or known.state is RowState.RESERVED:
            _give_back(db, counter, row.worker, amount)
    if new.state is not RowState.RESERVED:
        if known is not None and known.state is not RowState.RESERVED:
            db.execute("delete from attempts where row = ?", (new.id,))
        _write_attempts(db, new)


def _write_attempts(db: Connection, row: LedgerRow) -> None:
    for attempt in row.attempts:
        used = attempt.used
        is_used = used.input is not None or used.output is not None or attempt.cost is not None
        values = (row.id, attempt.provider, attempt.target, is_used, used.input or 0, used.output or 0)
        more = (attempt.cost, used.is_estimated)
        db.execute("insert into attempts values (?, ?, ?, ?, ?, ?, ?, ?)", (*values, *more))


def expire(db: Connection, now: float) -> list[LedgerRow]:
    over = db.execute("select name from workers where ends <= ?", (now,)).fetchall()
    ended = [row for (worker,) in over for row in end(db, worker, now)]
    db.execute("delete from minutes where at <= ?", (tick_of(now),))
    return ended


def end(db: Connection, worker: str, now: float) -> list[LedgerRow]:
    """Ends what belongs to a worker."""
    db.execute("delete from workers where name = ?", (worker,))
    reserved = "select body from rows where worker = ? and state = 'reserved' order by id"
    ended = [expired(_decode(body), now) for (body,) in db.execute(reserved, (worker,)).fetchall()]
    for row in ended:
        _write(db, row)
    db.execute("delete from held where worker = ?", (worker,))
    return ended


def levels(db: Connection, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
    return [_level(db, ceiling, now) for ceiling in ceilings]


def rebuild(db: Connection) -> None:
    db.execute("delete from spent")
    db.execute(
        "insert into spent select charge.key, sum(charge.value)"
        " from rows, json_each(cast(rows.body as text), '$.charges') as charge"
        " where rows.state != 'reserved' group by charge.key"
    )
