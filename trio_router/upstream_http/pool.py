"""Connections that wait to be used again, and how many may be open.  Every step costs the same."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_router.upstream_http.wires import Wire

Key = tuple[str, str, int, str]  # scheme, host, port, proxy


@dataclass(slots=True)
class Connection:
    """An open connection; `idle_since` is `trio.current_time()`."""

    key: Key
    wire: Wire
    idle_since: float = 0.0
    is_reused: bool = False


class Pool:
    """`limit` bounds open connections (None: nothing does), `keep` idle ones, `expiry` (s) their age."""

    def __init__(self, limit: int | None, keep: int, expiry: float) -> None:
        self._limit = limit
        self._keep = keep
        self._expiry = expiry
        self._idle: dict[Key, deque[Connection]] = {}
        self.idle = 0
        self.open = 0  # idle ones and slots that are being connected included
        self._waiting = trio.lowlevel.ParkingLot()

    async def acquire(self, key: Key) -> Connection | None:
        """An idle connection; or None: the caller has a slot and connects.

        Waits in order while all slots are taken.  When cancelled, nothing is held.
        """
        while True:
            connection = await self._reuse(key)
            if connection is not None:
                return connection
            if self._limit is None or self.open < self._limit or await self._evict():
                self.open += 1
                return None
            await self._waiting.park()

    def acquire_fresh(self) -> None:
        """A slot for a connection that replaces one closed just now."""
        self.open += 1

    async def release(self, connection: Connection) -> None:
        """Keeps a connection for the next request, or closes it if enough are kept."""
        if self.idle >= self._keep:
            await self.discard(connection)
            return
        connection.idle_since = trio.current_time()
        connection.is_reused = True
        self._idle.setdefault(connection.key, deque()).append(connection)
        self.idle += 1
        self._waiting.unpark()

    async def discard(self, connection: Connection) -> None:
        """Closes a connection and gives its slot back, also when cancelled."""
        self.give_back_slot()
        await connection.wire.close()

    def give_back_slot(self) -> None:
        self.open -= 1
        self._waiting.unpark()

    async def aclose(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            _, connections = self._idle.popitem()
            for connection in connections:
                self.idle -= 1
                await self.discard(connection)

    async def _reuse(self, key: Key) -> Connection | None:
        connections = self._idle.get(key)
        oldest = trio.current_time() - self._expiry
        while connections:
            connection = connections.pop()  # the youngest: the old ones get to expire
            self.idle -= 1
            if connection.idle_since >= oldest and connection.wire.looks_alive():
                await self._expire_one(connections, oldest)
                return connection
            await self.discard(connection)
        self._idle.pop(key, None)
        return None

    async def _expire_one(self, connections: deque[Connection], oldest: float) -> None:
        """One a time is enough: each use of the pool makes at most one idle connection."""
        if connections and connections[0].idle_since < oldest:
            self.idle -= 1
            await self.discard(connections.popleft())

    async def _evict(self) -> bool:
        """Closes an idle connection of another key, to make room."""
        for connections in self._idle.values():
            if connections:
                self.idle -= 1
                await self.discard(connections.popleft())
                return True
        return False
