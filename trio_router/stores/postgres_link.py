"""Connections to PostgreSQL, and the threads that use them; what waits too long is cut.

One thread writes what counts: jobs come through a queue, and what waits goes in one transaction.  A few
more threads read.  A server that does not answer at all (frozen, behind a network that swallows) would
hold a thread for ever: so whoever has waited long enough cuts the connection under it.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from trio_router.stores.interface import StoreDown
from trio_router.stores.postgres_schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg import Connection

T = TypeVar("T")
_MOST = 500  # jobs in one transaction
_READERS = 4
_CONNECT = 2  # s; libpq knows no less


class Job(Generic[T]):
    """`work` is done in the writer's thread; `done` is set in trio's."""

    def __init__(self, work: Callable[[Connection[Any]], T]) -> None:
        self.work = work
        self.done = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.result: Any = None
        self.fault: BaseException | None = None

    def tell(self) -> None:
        with suppress(trio.RunFinishedError):  # nobody waits any more
            self.token.run_sync_soon(self.done.set)


class PostgresLink:
    """The way to one database.  `patience` is for how many seconds anything may wait for it."""

    def __init__(self, url: str, patience: float) -> None:
        self._patience = patience
        self._psycopg = _psycopg()
        self._conninfo = conninfo(self._psycopg, url, patience)
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._writing: Connection[Any] | None = None
        self._idle: list[Connection[Any]] = []
        self._readers = trio.CapacityLimiter(_READERS)

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    def open(self, do: Callable[[Connection[Any], Sequence[Job[Any]]], None]) -> None:
        """`do` does jobs in one transaction.  What it raises, all of them fail with."""
        target = partial(self._write, do)
        self._thread = Thread(target=target, name="postgres writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Ends when all jobs are done, or have failed."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)
        while self._idle:
            self._idle.pop().close()

    # -- writing

    async def write(self, job: Job[T]) -> T:
        """The job's result, once it is committed.  On cancel it is done all the same.

        Raises StoreDown, and whatever the job raises.
        """
        if self._thread is None:
            raise StoreDown("the store is not open")
        self._jobs.put(job)
        with trio.move_on_after(self._patience):
            await job.done.wait()
        if not job.done.is_set():
            _cut(self._writing)
            raise StoreDown("the database does not answer")
        if job.fault is not None:
            raise job.fault
        result: T = job.result
        return result

    def _write(self, do: Callable[[Connection[Any], Sequence[Job[Any]]], None]) -> None:
        while jobs := self._next():
            try:
                self._attempt(do, jobs)
            except self._psycopg.OperationalError as fault:
                self._fail(jobs, fault)
            except Exception:
                for job in jobs:  # one of them cannot be done: the others can
                    self._alone(do, job)
            for job in jobs:
                job.tell()
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _alone(self, do: Callable[[Connection[Any], Sequence[Job[Any]]], None], job: Job[Any]) -> None:
        try:
            self._attempt(do, [job])
        except Exception as fault:
            self._fail([job], fault)

    def _fail(self, jobs: Sequence[Job[Any]], fault: BaseException) -> None:
        if isinstance(fault, self._psycopg.Error):
            fault = StoreDown(f"the database cannot be used: {_told(fault)}")
        for job in jobs:
            job.fault = fault

    def _attempt(
        self, do: Callable[[Connection[Any], Sequence[Job[Any]]], None], jobs: Sequence[Job[Any]]
    ) -> None:
        """Does the jobs in one transaction.  A connection that was lost meanwhile is replaced."""
        db = self._writing
        if db is not None and not db.closed:
            try:
                db.execute("begin")
            except self._psycopg.OperationalError:
                db.close()
        if db is None or db.closed:
            db = self._writing = self._connect()
            db.execute("begin")
        try:
            do(db, jobs)
            db.execute("commit")
        except BaseException:
            with suppress(self._psycopg.Error):
                db.execute("rollback")
            raise

    def _next(self) -> list[Job[Any]]:
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

    # -- reading, and what belongs to no batch

    async def run(self, work: Callable[[Connection[Any]], T], patience: float | None = None) -> T:
        """What `work` returns, on a connection of its own.  It commits by itself.

        `patience` is in seconds, for what may take longer than anything else.

        Raises StoreDown, and whatever `work` raises.  On cancel the connection is cut.
        """
        used: list[Connection[Any]] = []
        with trio.move_on_after(patience or self._patience) as scope:
            async with self._readers:
                try:
                    return await trio.to_thread.run_sync(
                        self._run, work, used, patience, abandon_on_cancel=True, limiter=_unlimited()
                    )
                finally:
                    if scope.cancel_called and used:
                        _cut(used[0])
        raise StoreDown("the database does not answer")

    def _run(
        self,
        work: Callable[[Connection[Any]], T],
        used: list[Connection[Any]],
        patience: float | None,
    ) -> T:
        with self._faults():
            db = self._idle.pop() if self._idle else None
            if db is not None:
                used.append(db)
                try:
                    db.execute("select")
                except self._psycopg.OperationalError:
                    db.close()
                    used.clear()
                    db = None
            if db is None:
                db = self._connect()
                used.append(db)
            try:
                if patience is not None:
                    db.execute(f"set statement_timeout = {int(patience * 1000)}".encode())
                return work(db)
            finally:
                used.clear()
                self._keep(db, is_plain=patience is None)

    def _keep(self, db: Connection[Any], *, is_plain: bool) -> None:
        """Keeps a connection for the next one, unless it was changed."""
        if self.is_open and is_plain:
            self._idle.append(db)
        else:
            db.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as fault:
            raise StoreDown(f"the database cannot be used: {_told(fault)}") from None

    def _connect(self) -> Connection[Any]:
        connection: Connection[Any] = self._psycopg.connect(self._conninfo, autocommit=True)
        return connection


def _unlimited() -> trio.CapacityLimiter:
    """The thread has a place among the readers already; one that was cut has not for long."""
    return trio.CapacityLimiter(1)


def _psycopg() -> Any:
    """Imported only where it is used: it takes a while, and is not installed everywhere."""
    try:
        return import_module("psycopg")
    except ImportError as fault:
        raise ValueError(f"a store in PostgreSQL needs trio-router[postgres]: {fault}") from None


def conninfo(psycopg: Any, url: str, patience: float) -> str:
    """The URL with all that keeps anybody from waiting for ever.  Raises ValueError without the URL."""
    ms = int(patience * 1000)
    options = (
        f"-c search_path={SCHEMA} -c statement_timeout={ms} -c lock_timeout={ms}"
        f" -c idle_in_transaction_session_timeout={2 * ms}"
    )
    try:
        given = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise ValueError("the URL of the PostgreSQL store is not valid") from None
    ours = {"connect_timeout": _CONNECT, "tcp_user_timeout": ms, "application_name": "trio-router"}
    given["options"] = f"{given.get('options', '')} {options}".strip()
    made: str = psycopg.conninfo.make_conninfo(**{**ours, **given})
    return made


def _cut(db: Connection[Any] | None) -> None:
    """Ends the connection under the thread that waits for it."""
    with suppress(Exception):
        if db is not None and not db.closed:
            with socket.socket(fileno=os.dup(db.pgconn.socket)) as own:
                own.shutdown(socket.SHUT_RDWR)


def _told(fault: BaseException) -> str:
    """What the database says, on one line."""
    return " ".join(str(fault).split()) or type(fault).__name__
