"""The stores that the same tests are run on, and what those tests are made of."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from trio_router.ledger.accounts import Key, Team, hash_of
from trio_router.ledger.ceilings import Ceiling, Counting, Want
from trio_router.ledger.queries import AuditEntry
from trio_router.ledger.rows import LedgerRow, RowAttempt, RowState
from trio_router.stores.memory import MemoryStore
from trio_router.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio_router.stores.interface import Store

NOW = 1_800_000_000.0
LEASE = 10.0
STORES = ["memory", "sqlite"]


@asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncIterator[Store]:
    """An empty store of the kind `name`."""
    path = str(folder / "ledger.db")
    store: Store = MemoryStore() if name == "memory" else SQLiteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


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
