"""One thread that writes an SQLite file: jobs come through a channel, and what waits goes in one batch.

A batch is one transaction.  A job that fails in the database fails alone: then each job of its batch is
done again in a transaction of its own.  A job that raises anything else must not have written before.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_PATIENCE = 5.0  # s that another process may keep the file locked
_MOST = 500  # jobs in one transaction


class _Job(Generic[T]):
    """`work` is done in the writer's thread; `done` is set in trio's."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.done = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.result: Any = None
        self.fault: BaseException | None = None

    def do(self, connection: sqlite3.Connection) -> None:
        """Raises sqlite3.Error; keeps every other fault for whoever waits."""
        self.fault = None
        try:
            self.result = self.work(connection)
        except sqlite3.Error:
            raise
        except Exception as fault:
            self.fault = fault

    def tell(self) -> None:
        with suppress(trio.RunFinishedError):  # nobody waits any more
            self.token.run_sync_soon(self.done.set)


class SQLiteWriter:
    """The thread and its connection.  `open` starts it, `close` ends it when all jobs are done."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._thread: Thread | None = None

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    def open(self) -> None:
        self._thread = Thread(target=self._run, name="sqlite writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, once it is committed.  On cancel it is done all the same.

        Raises StoreDown, and whatever `work` raises.
        """
        if self._thread is None:
            raise StoreDown("the store is not open")
        job = _Job(work)
        self._jobs.put(job)
        await job.done.wait()
        if job.fault is not None:
            raise job.fault
        result: T = job.result
        return result

    # -- in the thread

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while jobs := self._next():
            try:
                connection = connection or connect(self._path)
                _commit(connection, jobs)
            except sqlite3.Error as fault:
                for job in jobs:
                    job.fault = StoreDown(f"the file cannot be used: {fault}")
            for job in jobs:
                job.tell()
        if connection is not None:
            connection.close()

    def _next(self) -> list[_Job[Any]]:
        """All jobs that wait, at least one; nothing at the end."""
        first = self._jobs.get()
        if first is None:
            return []
        jobs = [first]
        with suppress(Empty):
            while len(jobs) < _MOST:
                job = self._jobs.get_nowait()
                if job is None:
                    self._jobs.put(None)  # the end comes after these
                    break
                jobs.append(job)
        return jobs


def _commit(connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
    """Does the jobs in one transaction; if it fails, each in its own.  Raises sqlite3.Error if one job
    does, alone."""
    try:
        _transact(connection, jobs)
    except sqlite3.Error as fault:
        if len(jobs) == 1:
            raise
        for job in jobs:
            try:
                _transact(connection, [job])
            except sqlite3.Error:
                job.fault = StoreDown(f"the file cannot be used: {fault}")


def _transact(connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
    connection.execute("begin immediate")
    try:
        for job in jobs:
            job.do(connection)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def connect(path: str) -> sqlite3.Connection:
    """A connection on which transactions are begun and ended by hand.  Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")  # a killed process loses nothing
    return connection
