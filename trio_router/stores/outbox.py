"""Rows on their way to a ledger that cannot be reached now.

They are carried at least once, and the ledger knows them again.  What a row said before is replaced by
what it says later.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import msgspec
import trio

from trio_router.ledger.rows import LedgerRow, next_row
from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
_MOST = 100_000  # rows in memory
_PATIENCE = 5.0  # s that another process may keep the file locked
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerRow).decode


class Carried(NamedTuple):
    """A row, who told of it, and which telling of it this is."""

    worker: str
    row: LedgerRow
    telling: int = 0


class Outbox(Protocol):
    async def put(self, worker: str, rows: Sequence[LedgerRow]) -> None:
        """Keeps rows that `worker` told of.  Raises StoreDown if it cannot."""

    async def some(self, limit: int) -> list[Carried]:
        """At most `limit` rows, the oldest first; they stay until they are `done`."""

    async def done(self, carried: Sequence[Carried]) -> None:
        """These have arrived.  What was told of them since then stays."""

    async def close(self) -> None: ...


class MemoryOutbox:
    """It ends with the process; the counters' server knows the rows as well."""

    def __init__(self) -> None:
        self._rows: dict[str, Carried] = {}
        self._tellings = 0

    async def put(self, worker: str, rows: Sequence[LedgerRow]) -> None:
        if len(self._rows) >= _MOST:
            raise StoreDown("the ledger is down, and the outbox is full")
        for row in rows:
            known = self._rows.get(row.id)
            new = next_row(None if known is None else known.row, row)
            if new is not None:
                self._tellings += 1
                self._rows[row.id] = Carried(worker, new, self._tellings)

    async def some(self, limit: int) -> list[Carried]:
        return [carried for carried, _ in zip(self._rows.values(), range(limit), strict=False)]

    async def done(self, carried: Sequence[Carried]) -> None:
        for one in carried:
            if self._rows.get(one.row.id) == one:
                del self._rows[one.row.id]

    async def close(self) -> None:
        pass


class SQLiteOutbox:
    """It outlives the process: whoever opens the file next carries on.  Processes may share it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._one = trio.CapacityLimiter(1)
        self._db: sqlite3.Connection | None = None

    async def put(self, worker: str, rows: Sequence[LedgerRow]) -> None:
        def work(db: sqlite3.Connection) -> None:
            for row in rows:
                found = db.execute("select body from outbox where id = ?", (row.id,)).fetchone()
                new = next_row(None if found is None else _decode(found[0]), row)
                if new is not None:
                    insert = "insert or replace into outbox (id, worker, body) values (?, ?, ?)"
                    db.execute(insert, (row.id, worker, _encode(new)))

        await self._do(work)

    async def some(self, limit: int) -> list[Carried]:
        query = "select worker, body, telling from outbox order by telling limit ?"

        def work(db: sqlite3.Connection) -> list[Carried]:
            found = db.execute(query, (limit,)).fetchall()
            return [Carried(worker, _decode(body), telling) for worker, body, telling in found]

        return await self._do(work)

    async def done(self, carried: Sequence[Carried]) -> None:
        tellings = [(one.telling,) for one in carried]
        await self._do(lambda db: db.executemany("delete from outbox where telling = ?", tellings))

    async def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does `work` in a transaction, in a thread.  On cancel it is done all the same."""

        def run() -> T:
            try:
                db = self._db = self._db or _opened(self._path)
                with db:  # commits, or rolls back
                    db.execute("begin immediate")
                    return work(db)
            except sqlite3.Error as fault:
                raise StoreDown(f"the outbox cannot be used: {fault}") from None

        return await trio.to_thread.run_sync(run, limiter=self._one)


def _opened(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    db.execute("pragma journal_mode = wal")
    db.execute(
        "create table if not exists outbox ("
        "telling integer primary key autoincrement, id text not null unique,"
        " worker text not null, body blob not null)"
    )
    return db
