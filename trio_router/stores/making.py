"""The store that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.stores.many_machines import ManyMachinesStore
from trio_router.stores.memory import MemoryStore
from trio_router.stores.postgres import PostgresStore
from trio_router.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from trio_router.stores.interface import Store


_LEDGER_PATIENCE = 2.0  # s: with the counters' patience it fits into that of a worker


def store_of(url: str, counters: str | None = None) -> Store:
    """Raises ValueError for a URL of a store that there is not.  Nothing is opened yet."""
    scheme, _, path = url.partition(":")
    if scheme in ("postgres", "postgresql"):
        if counters is None:
            return PostgresStore(url)
        return ManyMachinesStore(counters, PostgresStore(url, patience=_LEDGER_PATIENCE))
    if counters is not None:
        raise ValueError("counters: they need a ledger that machines share: url: postgresql://...")
    match scheme:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SQLiteStore(path.removeprefix("//"))
    raise ValueError(f"url: there is no {scheme} store: use sqlite:PATH or postgresql://...")
