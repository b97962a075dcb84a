"""The store that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.stores.memory import MemoryStore
from trio_router.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from trio_router.stores.interface import Store


def store_of(url: str, counters: str | None = None) -> Store:
    """Raises ValueError for a URL of a store that there is not.  Nothing is opened yet."""
    scheme, _, path = url.partition(":")
    if counters is not None:
        raise ValueError("counters: there is no store of counters in this version")
    match scheme:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SQLiteStore(path.removeprefix("//"))
    raise ValueError(f"url: there is no {scheme} store in this version: use sqlite:PATH")
