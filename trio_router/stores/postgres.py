"""A store in PostgreSQL: of any number of machines, which share a database.

What counts goes through one writing thread of the process (`postgres_link`), in batches; accounts and
lists have connections of their own.  The server's clock counts, whatever the workers' clocks say.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from trio_router.stores import postgres_accounts, postgres_counters, postgres_queries, postgres_rows
from trio_router.stores.interface import LeaseLost, distinct
from trio_router.stores.postgres_link import Job, PostgresLink
from trio_router.stores.postgres_schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg import Connection

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
    from trio_router.stores.postgres_counters import Recorded
    from trio_router.stores.postgres_rows import Spent

T = TypeVar("T")
_PATIENCE = 4.0  # s
_LONG = 60.0  # s, for sums over many rows, which nobody's request waits for
_MIGRATION = 600.0  # s that bringing a large database up to date may take


class _Take(Job["Taken | Refused"]):
    """Takes that wait are done together."""

    def __init__(self, worker: str, wants: Sequence[Want], now: float | None) -> None:
        super().__init__(_never)
        self.worker = worker
        self.wants = wants
        self.now = now


class PostgresStore:
    """The store in the database of `url`.

    `patience` is for how many seconds anything may wait for it.  With `own_clock=False` the workers'
    times count, and not the server's: for tests.
    """

    def __init__(self, url: str, *, patience: float = _PATIENCE, own_clock: bool = True) -> None:
        self._link = PostgresLink(url, patience)
        self._own_clock = own_clock
        self._is_ready = False
        self._migrating = trio.Lock()

    async def open(self) -> None:
        """Raises StoreDown if the database cannot be reached: to be called again."""
        if not self._link.is_open:
            self._link.open(_do)
        await self._migrate()

    async def close(self) -> None:
        await self._link.close()

    async def _migrate(self) -> None:
        """Whoever comes first does it, for the database may not have been there when it was opened."""
        if not self._is_ready:
            async with self._migrating:
                if not self._is_ready:
                    await self._link.run(migrate, _MIGRATION)
                    self._is_ready = True

    async def _run(self, work: Callable[[Connection[Any]], T], patience: float | None = None) -> T:
        """Does `work` on a connection of its own."""
        await self._migrate()
        return await self._link.run(work, patience)

    async def _write(self, job: Job[T]) -> T:
        await self._migrate()
        return await self._link.write(job)

    async def _count(self, work: Callable[[Connection[Any], float], T], now: float) -> T:
        """Does `work` under the lock of the counters, with the time that counts."""
        given = None if self._own_clock else now

        def timed(db: Connection[Any]) -> T:
            return work(db, postgres_counters.clock(db) if given is None else given)

        return await self._write(Job(timed))

    # -- counters

    async def join(self, worker: str, lease: float, now: float) -> int:
        return await self._count(
            lambda db, time: postgres_counters.join(db, worker, lease, time, now), now
        )

    async def take(self, worker: str, wants: Sequence[Want], now: float) -> Taken | Refused:
        distinct(wants)
        return await self._write(_Take(worker, wants, None if self._own_clock else now))

    async def sync(self, batch: Batch, lease: float, now: float) -> Synced:
        return await self._count(lambda db, time: postgres_counters.sync(db, batch, lease, time), now)

    async def leave(self, worker: str, now: float) -> None:
        await self._count(lambda db, time: postgres_counters.end(db, [worker], time), now)

    async def expire(self, now: float) -> list[LedgerRow]:
        return await self._count(postgres_counters.expire, now)

    async def levels(self, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
        return await self._count(lambda db, time: postgres_counters.levels(db, ceilings, time), now)

    async def rebuild(self) -> None:
        await self._write(Job(postgres_rows.rebuild))

    # -- for a store that counts elsewhere, and keeps its ledger here

    async def record(
        self, worker: str, lease: float, rows: Sequence[LedgerRow], now: float
    ) -> Recorded:
        """Takes rows, and renews the worker's lease in the ledger.  It can be repeated."""
        return await self._count(
            lambda db, time: postgres_counters.record(db, worker, lease, rows, time), now
        )

    async def expire_others(self, alive: Sequence[str], now: float) -> Recorded:
        """Ends the rows of workers who are not `alive` there, nor have a lease here."""
        return await self._count(lambda db, time: postgres_counters.expire_others(db, alive, time), now)

    async def spent(self, counters: Sequence[str]) -> list[Spent]:
        """What was spent of each counter, in order."""
        return await self._run(lambda db: postgres_rows.spent_of(db, counters))

    async def accounts(self) -> int:
        return await self._run(postgres_counters.accounts)

    # -- keys and teams

    async def add_key(self, key: Key, audit: AuditEntry) -> None:
        await self._run(lambda db: postgres_accounts.add_key(db, key, audit))

    async def change_key(self, key: Key, audit: AuditEntry, before: Key | None = None) -> bool:
        return await self._run(lambda db: postgres_accounts.change_key(db, key, audit, before))

    async def key_of(self, hashed: str) -> Key | None:
        return await self._run(lambda db: postgres_accounts.key_of(db, hashed))

    async def key(self, id: str) -> Key | None:  # noqa: A002
        return await self._run(lambda db: postgres_accounts.key(db, id))

    async def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        return await self._run(lambda db: postgres_accounts.keys(db, team, after, limit))

    async def put_team(self, team: Team, audit: AuditEntry) -> None:
        await self._run(lambda db: postgres_accounts.put_team(db, team, audit))

    async def remove_team(self, id: str, audit: AuditEntry) -> bool:  # noqa: A002
        return await self._run(lambda db: postgres_accounts.remove_team(db, id, audit))

    async def team(self, id: str) -> Team | None:  # noqa: A002
        return await self._run(lambda db: postgres_accounts.team(db, id))

    async def teams(self, *, after: str | None = None, limit: int = 100) -> TeamPage:
        return await self._run(lambda db: postgres_accounts.teams(db, after, limit))

    async def note(self, audit: AuditEntry) -> None:
        await self._run(lambda db: postgres_accounts.note(db, audit))

    async def audit(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        return await self._run(lambda db: postgres_accounts.audit(db, before, limit))

    # -- rows

    async def row(self, id: str) -> LedgerRow | None:  # noqa: A002
        return await self._run(lambda db: postgres_queries.row(db, id))

    async def rows(self, of: RowFilter, *, after: str | None = None, limit: int = 100) -> RowPage:
        return await self._run(lambda db: postgres_queries.rows(db, of, after, limit), _LONG)

    async def spend(self, by: By, of: RowFilter) -> list[SpendLine]:
        return await self._run(partial(postgres_queries.spend, by=by, of=of), _LONG)


def _do(db: Connection[Any], jobs: Sequence[Job[Any]]) -> None:
    """Does jobs in one transaction."""
    postgres_counters.lock(db)
    _take(db, [job for job in jobs if isinstance(job, _Take)])
    for job in jobs:
        if not isinstance(job, _Take):
            _keep(job, partial(job.work, db))


def _never(_: Connection[Any]) -> Any:
    raise AssertionError("takes are done together")


def _take(db: Connection[Any], jobs: Sequence[_Take]) -> None:
    for now in {job.now for job in jobs}:
        some = [job for job in jobs if job.now == now]
        time = postgres_counters.clock(db) if now is None else now
        takes = postgres_counters.Takes(db, time, [(job.worker, job.wants) for job in some])
        for job in some:
            _keep(job, partial(takes.take, job.worker, job.wants))
        takes.write()


def _keep(job: Job[Any], work: Callable[[], Any]) -> None:
    job.fault = None
    try:
        job.result = work()
    except LeaseLost as fault:
        job.fault = fault
