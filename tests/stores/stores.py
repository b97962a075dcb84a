"""The stores that the same tests are run on, and what those tests are made of."""

from __future__ import annotations

import gc
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.stores import servers
from trio_router.ledger.accounts import Key, Team, hash_of
from trio_router.ledger.ceilings import Ceiling, Counting, Want
from trio_router.ledger.queries import AuditEntry
from trio_router.ledger.rows import LedgerRow, RowAttempt, RowState
from trio_router.stores.many_machines import ManyMachinesStore
from trio_router.stores.memory import MemoryStore
from trio_router.stores.postgres import PostgresStore
from trio_router.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from trio_router.stores.interface import Store

NOW = 1_800_000_000.0
LEASE = 10.0
SERVED = ["postgres", "many_machines"]  # by servers that the tests start
STORES = ["memory", "sqlite", *SERVED]


@asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncIterator[Store]:
    """An empty store of the kind `name`."""
    made: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SQLiteStore(str(folder / "ledger.db")),
        "postgres": postgres,
        "many_machines": many_machines,
    }
    store = made[name]()
    await store.open()
    try:
        yield store
    finally:
        await store.close()
        if name == "many_machines":
            collect_channels()


def collect_channels() -> None:
    """Collects the memory channels that coredis leaves open where a connection fails.

    Otherwise their warnings come in whatever test the collector runs in.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def postgres() -> PostgresStore:
    """An empty database, in which the times of the tests count."""
    pytest.importorskip("psycopg")
    server = servers.shared(servers.PostgresServer)
    server.empty()
    return PostgresStore(server.url, own_clock=False)


def many_machines() -> ManyMachinesStore:
    """Empty counters and an empty ledger, in which the times of the tests count."""
    pytest.importorskip("coredis")
    server = servers.shared(servers.RedisServer)
    server.ask(b"FLUSHALL")
    return ManyMachinesStore(server.url, postgres(), own_clock=False)


def money(most: int, counter: str = "key:web usd total", **more: Any) -> Ceiling:
    return Ceiling(counter, Counting.BUDGET, most, "key", **more)


def requests(most: int, counter: str = "key:web requests", **more: Any) -> Ceiling:
    return Ceiling(counter, Counting.REQUESTS, most, "key", **more)


def slots(most: int, counter: str = "key:web parallel", **more: Any) -> Ceiling:
    return Ceiling(counter, Counting.PARALLEL, most, "key", **more)


def want(ceiling: Ceiling, amount: int = 1, extra: int = 0) -> Want:
    return Want(ceiling, amount, extra)


def reserved(id: str, worker: str = "w1", **more: Any) -> LedgerRow:  # noqa: A002
    return LedgerRow(
        **{"id": id, "worker": worker, "state": RowState.RESERVED, "began_at": NOW, **more}
    )


def settled(id: str, worker: str = "w1", **more: Any) -> LedgerRow:  # noqa: A002
    return reserved(id, worker, **{"state": RowState.SETTLED, "ended_at": NOW + 1, **more})


def attempt(model: str = "chat", cost: int | None = 5, **more: Any) -> RowAttempt:
    return RowAttempt("deepseek", model, "completed", cost=cost, **more)


def key(id: str = "web", **more: Any) -> Key:  # noqa: A002
    return Key(**{"id": id, "hash": hash_of(f"tr-{id}"), "created_at": NOW, **more})


def team(id: str = "search", **more: Any) -> Team:  # noqa: A002
    return Team(id=id, **more)


def act(name: str = "key.create", subject: str = "web") -> AuditEntry:
    return AuditEntry(NOW, "admin", name, subject)
