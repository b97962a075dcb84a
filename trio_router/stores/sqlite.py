"""A store in an SQLite file: of one machine, for any number of worker processes.

What counts goes through one writing thread of the process (`sqlite_writer`), in batches.  What is only
looked up in long lists has a connection of its own, and does not hold that up: WAL lets it read
meanwhile.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from trio_router.stores import sqlite_accounts, sqlite_counters, sqlite_queries
from trio_router.stores.interface import StoreDown, distinct
from trio_router.stores.sqlite_schema import migrate
from trio_router.stores.sqlite_writer import SQLiteWriter, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.ceilings import Ceiling, Level, Refused, Taken, Want
    from trio_router.ledger.queries import (
        AuditEntry,
        By,
        KeyPage,
        RowFilter,
        RowPage,
        SpendLine,
        TeamPage,
    )
    from trio_router.ledger.rows import LedgerRow
    from trio_router.stores.interface import Batch, Synced

T = TypeVar("T")


class SQLiteStore:
    """The store in the file at `path`, which is made if it is not there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer = SQLiteWriter(path)
        self._one_reader = trio.CapacityLimiter(1)

    async def open(self) -> None:
        if not self._writer.is_open:
            await self._aside(migrate)
            self._writer.open()

    async def close(self) -> None:
        await self._writer.close()

    async def _aside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does `work` on a connection of its own, in a thread.  Raises StoreDown."""

        def run() -> T:
            try:
                connection = connect(self._path)
                try:
                    return work(connection)
                finally:
                    connection.close()
            except sqlite3.Error as fault:
                raise StoreDown(f"the file cannot be used: {fault}") from None

        return await trio.to_thread.run_sync(run, limiter=self._one_reader)

    # -- counters

    async def join(self, worker: str, lease: float, now: float) -> int:
        return await self._writer.do(lambda db: sqlite_counters.join(db, worker, lease, now))

    async def take(self, worker: str, wants: Sequence[Want], now: float) -> Taken | Refused:
        distinct(wants)
        return await self._writer.do(lambda db: sqlite_counters.take(db, worker, wants, now))

    async def sync(self, batch: Batch, lease: float, now: float) -> Synced:
        return await self._writer.do(lambda db: sqlite_counters.sync(db, batch, lease, now))

    async def leave(self, worker: str, now: float) -> None:
        await self._writer.do(lambda db: sqlite_counters.end(db, worker, now))

    async def expire(self, now: float) -> list[LedgerRow]:
        return await self._writer.do(lambda db: sqlite_counters.expire(db, now))

    async def levels(self, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
        return await self._writer.do(lambda db: sqlite_counters.levels(db, ceilings, now))

    async def rebuild(self) -> None:
        await self._writer.do(sqlite_counters.rebuild)

    # -- keys and teams

    async def add_key(self, key: Key, audit: AuditEntry) -> None:
        await self._writer.do(lambda db: sqlite_accounts.add_key(db, key, audit))

    async def change_key(self, key: Key, audit: AuditEntry, before: Key | None = None) -> bool:
        return await self._writer.do(lambda db: sqlite_accounts.change_key(db, key, audit, before))

    async def key_of(self, hashed: str) -> Key | None:
        return await self._writer.do(lambda db: sqlite_accounts.key_of(db, hashed))

    async def key(self, id: str) -> Key | None:  # noqa: A002
        return await self._writer.do(lambda db: sqlite_accounts.key(db, id))

    async def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        return await self._aside(lambda db: sqlite_accounts.keys(db, team, after, limit))

    async def put_team(self, team: Team, audit: AuditEntry) -> None:
        await self._writer.do(lambda db: sqlite_accounts.put_team(db, team, audit))

    async def remove_team(self, id: str, audit: AuditEntry) -> bool:  # noqa: A002
        return await self._writer.do(lambda db: sqlite_accounts.remove_team(db, id, audit))

    async def team(self, id: str) -> Team | None:  # noqa: A002
        return await self._writer.do(lambda db: sqlite_accounts.team(db, id))

    async def teams(self, *, after: str | None = None, limit: int = 100) -> TeamPage:
        return await self._aside(lambda db: sqlite_accounts.teams(db, after, limit))

    async def note(self, audit: AuditEntry) -> None:
        await self._writer.do(lambda db: sqlite_accounts.note(db, audit))

    async def audit(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        return await self._aside(lambda db: sqlite_accounts.audit(db, before, limit))

    # -- rows

    async def row(self, id: str) -> LedgerRow | None:  # noqa: A002
        return await self._writer.do(lambda db: sqlite_queries.row(db, id))

    async def rows(self, of: RowFilter, *, after: str | None = None, limit: int = 100) -> RowPage:
        return await self._aside(lambda db: sqlite_queries.rows(db, of, after, limit))

    async def spend(self, by: By, of: RowFilter) -> list[SpendLine]:
        return await self._aside(partial(sqlite_queries.spend, by=by, of=of))
