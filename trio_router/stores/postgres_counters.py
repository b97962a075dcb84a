"""What the PostgreSQL store does with counters, leases and rows, in the transaction of its writer.

Whoever counts has one lock of the database: machines count in turn, and each does all that waits.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

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
from trio_router.ledger.sliding import SlidingMinute
from trio_router.stores import postgres_rows as ledger
from trio_router.stores.interface import LeaseLost, Synced
from trio_router.stores.postgres_rows import plain
from trio_router.stores.postgres_schema import COUNTERS_LOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from trio_router.ledger.ceilings import Ceiling, Want
    from trio_router.ledger.rows import LedgerRow
    from trio_router.stores.interface import Batch
    from trio_router.stores.postgres_rows import Spent

Amounts = dict[str, Level]
_USED = """
    select counter, coalesce(spent.amount, 0),
        (select coalesce(sum(amount), 0)::bigint from held where held.counter = wanted.counter),
        (select coalesce(sum(amount), 0)::bigint from minutes
         where minutes.counter = wanted.counter and at > %s)
    from unnest(%s::text[]) as wanted (counter) left join spent using (counter)
"""


def lock(db: Connection[Any]) -> None:
    db.execute("select pg_advisory_xact_lock(%s)", (COUNTERS_LOCK,))


def clock(db: Connection[Any]) -> float:
    """The server's time, in Unix seconds."""
    found = db.execute("select extract(epoch from clock_timestamp())::double precision").fetchone()
    return float(found[0]) if found is not None else 0.0


def join(db: Connection[Any], worker: str, lease: float, now: float, here: float) -> int:
    """`now` is the time that counts, `here` the worker's.  Ticks are told to a worker in its time."""
    ahead = round((now - here) / TICK)
    db.execute(
        "insert into workers values (%s, %s, %s, 0)"
        " on conflict (name) do update set ends = excluded.ends, ahead = excluded.ahead, batch = 0",
        (plain(worker), now + lease, ahead),
    )
    return accounts(db)


def accounts(db: Connection[Any]) -> int:
    """A number that rises with every change of keys and teams."""
    found = db.execute("select acts from accounts").fetchone()
    return 0 if found is None else int(found[0])


class Takes:
    """Takes that are done in one transaction: what is used is read once, and written once."""

    def __init__(
        self, db: Connection[Any], now: float, wanted: Sequence[tuple[str, Sequence[Want]]]
    ) -> None:
        self._db = db
        self._now = now
        names = [plain(worker) for worker, _ in wanted]
        query = "select name, ahead from workers where name = any(%s) and ends > %s"
        self._ahead: dict[str, int] = dict(db.execute(query, (names, now)).fetchall())
        counters = {plain(want.ceiling.counter) for _, wants in wanted for want in wants}
        used = db.execute(_USED, (tick_of(now), list(counters)))
        self._used: dict[str, tuple[int, int]] = {
            name: (spent + held, counted) for name, spent, held, counted in used
        }
        self._held: Counter[tuple[str, str]] = Counter()
        self._counted: Counter[tuple[str, int]] = Counter()

    def take(self, worker: str, wants: Sequence[Want]) -> Taken | Refused:
        """Raises LeaseLost."""
        ahead = self._ahead.get(plain(worker))
        if ahead is None:
            raise LeaseLost
        refusals = [found for want in wants if (found := self._refusal(want)) is not None]
        if refusals:
            return longest(refusals)
        return Taken(tuple(self._grant(worker, ahead, want) for want in wants))

    def _amount(self, ceiling: Ceiling) -> int:
        return self._used[plain(ceiling.counter)][ceiling.kind.slides]

    def _refusal(self, want: Want) -> Refused | None:
        ceiling, used = want.ceiling, self._amount(want.ceiling)
        if ceiling.is_soft or used + want.amount <= ceiling.most:
            return None
        if ceiling.kind.slides:
            after = self._minute(plain(ceiling.counter)).after(want.amount, ceiling.most, self._now)
        else:
            after = room_after(ceiling, want.amount, self._now)
        return Refused(ceiling, used, after)

    def _minute(self, counter: str) -> SlidingMinute:
        minute = SlidingMinute()
        query = "select at, amount from minutes where counter = %s and at > %s"
        for at, amount in self._db.execute(query, (counter, tick_of(self._now))):
            minute.add(amount, at)
        for (name, at), amount in self._counted.items():
            if name == counter:
                minute.add(amount, at)
        return minute

    def _grant(self, worker: str, ahead: int, want: Want) -> Grant:
        ceiling, counter = want.ceiling, plain(want.ceiling.counter)
        used = self._amount(ceiling) + want.amount
        extra = slice_of(want.extra, ceiling.most - used, ceiling.most)
        holds, counted = self._used[counter]
        if not ceiling.kind.slides:
            self._used[counter] = holds + want.amount + extra, counted
            self._held[counter, plain(worker)] += want.amount + extra
            return Grant(want.amount, extra, used + extra)
        self._used[counter] = holds, counted + want.amount + extra
        at, extra_at = leaves(self._now), leaves(self._now, SLICE + MINUTE)
        self._counted[counter, at] += want.amount
        self._counted[counter, extra_at] += extra
        return Grant(want.amount, extra, used + extra, at - ahead, extra_at - ahead)

    def write(self) -> None:
        """Writes what was taken."""
        if self._held:
            self._db.execute(
                "insert into held select * from unnest(%s::text[], %s::text[], %s::bigint[])"
                " on conflict (counter, worker) do update set amount = held.amount + excluded.amount",
                ([c for c, _ in self._held], [w for _, w in self._held], list(self._held.values())),
            )
        counted = {place: amount for place, amount in self._counted.items() if amount}
        if counted:
            self._db.execute(
                "insert into minutes select * from unnest(%s::text[], %s::bigint[], %s::bigint[])"
                " on conflict (counter, at) do update set amount = minutes.amount + excluded.amount",
                ([c for c, _ in counted], [at for _, at in counted], list(counted.values())),
            )


def sync(db: Connection[Any], batch: Batch, lease: float, now: float) -> Synced:
    worker = plain(batch.worker)
    query = "select ends, batch, ahead from workers where name = %s"
    found = db.execute(query, (worker,)).fetchone()
    is_alive = found is not None and found[0] > now
    is_new = found is None or batch.number > found[1]
    if found is not None and is_alive:
        update = "update workers set ends = %s, batch = greatest(batch, %s) where name = %s"
        db.execute(update, (now + lease, batch.number, worker))
    if is_new:
        ledger.write(db, batch.rows, batch.worker)
        if found is not None and is_alive:
            _change(db, batch, found[2], now)
    return Synced(is_alive, accounts(db))


def _change(db: Connection[Any], batch: Batch, ahead: int, now: float) -> None:
    """Those of holdings in one statement; those of minutes one by one, in their order."""
    given: Counter[tuple[str, str]] = Counter()
    counted = []
    for change in batch.changes:
        counter = plain(change.counter)
        if not change.at:
            given[counter, batch.worker] += max(0, -change.amount)
        elif (at := change.at + ahead) > leaves(now, 0):
            at = min(at, leaves(now, MINUTE + SLICE))  # a clock that was put forward counts no longer
            counted.append((counter, at, max(0, change.amount), change.amount))
    ledger.give_back(db, given)
    if counted:
        with db.cursor() as cursor:
            cursor.executemany(
                "insert into minutes values (%s, %s, %s) on conflict (counter, at)"
                " do update set amount = greatest(0, minutes.amount + %s)",
                counted,
            )


def end(db: Connection[Any], workers: Sequence[str], now: float) -> list[LedgerRow]:
    """Ends what belongs to the workers, and to others that are not there any more."""
    names = [plain(worker) for worker in workers]
    db.execute("delete from workers where name = any(%s)", (names,))
    db.execute("delete from held where worker = any(%s)", (names,))
    return ledger.end_reserved(db, now)


def expire(db: Connection[Any], now: float) -> list[LedgerRow]:
    over = db.execute("select name from workers where ends <= %s", (now,)).fetchall()
    db.execute("delete from minutes where at <= %s", (tick_of(now),))
    db.execute("delete from held where amount = 0")
    return end(db, [name for (name,) in over], now)


def levels(db: Connection[Any], ceilings: Sequence[Ceiling], now: float) -> list[Level]:
    names = [plain(ceiling.counter) for ceiling in ceilings]
    used = db.execute(_USED, (tick_of(now), list(set(names))))
    found = {name: (spent, held, counted) for name, spent, held, counted in used}
    return [
        Level(found[name][2]) if ceiling.kind.slides else Level(*found[name][:2])
        for name, ceiling in zip(names, ceilings, strict=True)
    ]


# -- for a store that counts elsewhere, and keeps its ledger here


class Recorded(NamedTuple):
    """What the ledger says when it has rows: what is spent of the counters that they charge.

    `accounts` is as Synced has it.
    """

    rows: tuple[LedgerRow, ...]
    spent: list[Spent]
    accounts: int


def record(
    db: Connection[Any], worker: str, lease: float, rows: Sequence[LedgerRow], now: float
) -> Recorded:
    """Takes rows that `worker` tells of, and renews its lease."""
    if worker:
        db.execute(
            "insert into workers values (%s, %s)"
            " on conflict (name) do update set ends = greatest(workers.ends, excluded.ends)",
            (plain(worker), now + lease),
        )
    ledger.write(db, rows, worker)
    return _recorded(db, rows)


def expire_others(db: Connection[Any], alive: Sequence[str], now: float) -> Recorded:
    """Ends the rows of workers whose lease has ended here, and who are not `alive` elsewhere."""
    names = [plain(worker) for worker in alive]
    db.execute("delete from workers where ends <= %s and name != all(%s)", (now, names))
    return _recorded(db, ledger.end_reserved(db, now, names))


def _recorded(db: Connection[Any], rows: Sequence[LedgerRow]) -> Recorded:
    counters = sorted({counter for row in rows for counter in row.charges})
    return Recorded(tuple(rows), ledger.spent_of(db, counters), accounts(db))
