"""One worker's side of the store: its lease, its purse, what it owes the store, and its heartbeat.

A request draws what it needs from the purse.  Only what the purse lacks is asked of the store.  Rows
and changes gather for a moment and go to the store in one batch, which renews the lease, too.

While the store is down, `refuse` refuses; `allow` counts in this process alone, by the same ceilings,
and owes the store the rows until it is there again.  It is looked for all the time.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, TypeVar

import trio

from trio_router.ledger.ceilings import Refused
from trio_router.ledger.purse import Purse
from trio_router.stores.interface import Batch, LeaseLost, StoreDown
from trio_router.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from trio_router.ledger.ceilings import Ceiling, Taken
    from trio_router.ledger.purse import Draw
    from trio_router.ledger.rows import LedgerRow
    from trio_router.stores.interface import Store

T = TypeVar("T")
logger = logging.getLogger("trio_router")
LEASE = 10.0  # s; what a dead worker held is free after that
_MARGIN = 2.0  # s before its end in which a lease is of no use any more: clocks differ
_BEAT = 1.0  # s between two heartbeats
_GATHER = 0.02  # s in which rows gather for one batch
_PATIENCE = 5.0  # s that the store may take
_SEARCH = 0.5  # s between two looks for a store that is down
_EXPIRE = 5  # heartbeats between two looks for dead workers
_MOST_OWED = 100_000  # rows that are kept for a store that is down


class CeilingReached(Exception):
    """The draw was refused."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.ceiling.counter)
        self.refused = refused


class Keeper:
    """`wall` gives Unix seconds, `token` random bytes for the worker's names.

    `running` is called with each heartbeat, and gives the rows of requests under way whose cost is
    known better than before.
    """

    def __init__(
        self,
        store: Store,
        *,
        allows_when_down: bool,
        wall: Callable[[], float],
        token: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self.purse = Purse()
        self.worker = ""
        self.is_down = True  # until it was joined
        self.accounts = -1  # changes whenever a key or a team does
        self.has_keys: bool | None = None  # whether the store holds any key; None: nobody knows
        self.on_change: Callable[[], None] = lambda: None  # called when it does
        self.running: Callable[[], Iterable[LedgerRow]] = lambda: ()
        self.on_beat: Callable[[], None] = lambda: None
        self._wall = wall
        self._token = token
        self._allows = allows_when_down
        self._local: MemoryStore | None = None  # in the store's place while it is down
        self._rows: dict[str, LedgerRow] = {}  # not told yet
        self._unsure: Batch | None = None  # told, and not confirmed
        self._batches = 0
        self._wake = trio.Event()
        self._told_down = False
        self._beats = self._number = 0
        self._next_beat = self._lease_ends = 0.0  # in trio's time
        self._joining, self._telling = trio.Lock(), trio.Lock()

    # -- for requests

    @property
    def is_lost(self) -> bool:
        """The store is down, and nothing may be taken without it."""
        return self.is_down and not self._allows

    def next_id(self) -> str:
        """An id for a row that no other worker has."""
        self._number += 1
        return f"{self.worker}-{self._number}"

    async def draw(self, amounts: Sequence[tuple[Ceiling, int]]) -> Draw:
        """Takes all of it.  Raises CeilingReached, and StoreDown.

        It cannot be cancelled while it asks the store, which takes milliseconds: nobody would know what
        was taken.
        """
        try:
            return await self._draw(amounts)
        except LeaseLost:
            with trio.CancelScope(shield=True):
                await self._join_again()
        except StoreDown as fault:
            self._lose(fault)
            if not self._allows:
                raise
            with trio.CancelScope(shield=True):
                await self._go_local()
        try:
            return await self._draw(amounts)
        except LeaseLost:
            raise StoreDown("the lease has ended") from None

    async def _draw(self, amounts: Sequence[tuple[Ceiling, int]]) -> Draw:
        if trio.current_time() >= self._lease_ends and self._local is None:
            raise StoreDown("the store is down") if self.is_down else LeaseLost
        now = self._wall()
        draw = self.purse.draw(amounts, now)
        if draw.wants:
            with trio.CancelScope(shield=True):
                await self._take(draw, now)
        return draw

    async def _take(self, draw: Draw, now: float) -> None:
        try:
            answer = await self._asked(draw, now)
            if isinstance(answer, Refused) and self._owes:
                # What this worker has given back may be all that is lacking.
                await self._tell(now)
                answer = await self._asked(draw, now)
        except (StoreDown, LeaseLost):
            self.purse.refused(draw)
            raise
        if isinstance(answer, Refused):
            self.purse.refused(draw)
            if self.purse.is_urgent:
                self._wake.set()
            raise CeilingReached(answer)
        self.purse.granted(draw, answer, now)

    async def _asked(self, draw: Draw, now: float) -> Taken | Refused:
        if self._local is not None:
            return await self._local.take(self.worker, draw.wants, now)
        if self.is_down:
            raise StoreDown("the store is down")
        return await _in_time(self.store.take(self.worker, draw.wants, now))

    def note(self, row: LedgerRow) -> None:
        """Tells the store of a row, with the next batch."""
        if len(self._rows) < _MOST_OWED or row.id in self._rows:
            self._rows[row.id] = row
        self._wake.set()

    def end(
        self,
        draws: Sequence[Draw],
        row: LedgerRow,
        charges: Mapping[str, int],
        tokens: Mapping[str, int],
    ) -> None:
        """A request has ended: gives back what it drew and did not use."""
        self.purse.ended(draws, charges, tokens, self._wall())
        self.note(row)

    # -- the heartbeat

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps in touch with the store until cancelled; then tells it the last and leaves it."""
        try:
            await self._search(is_first=True)
            task_status.started()
            while True:
                await self._wait()
                if self.is_down:
                    async with self._joining:
                        await self._search()
                else:
                    await self._beat()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_PATIENCE):
                await self._leave()

    async def _wait(self) -> None:
        """Until something has gathered, or it is time for a heartbeat."""
        if self.is_down:
            await trio.sleep(_SEARCH)
            return
        left = self._next_beat - trio.current_time()
        if left > 0:
            with trio.move_on_after(left):
                await self._wake.wait()
                await trio.sleep(_GATHER)
        self._wake = trio.Event()

    async def _search(self, *, is_first: bool = False) -> None:
        """Looks for the store, and joins it under a new name."""
        began = trio.current_time()
        worker = self._token(9).hex()
        try:
            await _in_time(self._join(worker))
        except StoreDown as fault:
            if is_first:
                logger.error("the store is down", extra={"fields": {"why": str(fault)}})
            if self._allows:
                await self._go_local()
                await self._tell_local()
            return
        if not is_first and self._told_down:
            logger.warning("the store is there again")
        self.purse.reset()
        self._local, self._told_down = None, False
        self.worker, self.is_down = worker, False
        self._next_beat, self._lease_ends = began + _BEAT, began + LEASE - _MARGIN
        self.on_change()
        self._wake.set()

    async def _join_again(self) -> None:
        """The lease has ended although the store is there: this process was paused, or it was busy."""
        async with self._joining:
            if trio.current_time() >= self._lease_ends:
                logger.warning("this worker's lease has ended: it was paused, or the store was slow")
                self.is_down = True
                await self._search()

    async def _join(self, worker: str) -> None:
        await self.store.open()
        self.accounts = await self.store.join(worker, LEASE, self._wall())
        await self._look_for_keys()

    async def _look_for_keys(self) -> None:
        self.has_keys = bool((await self.store.keys(limit=1)).keys)

    async def _go_local(self) -> None:
        """Counts here, until the store is there again."""
        if self._local is None:
            self._local = local = MemoryStore()
            self.worker = self._token(9).hex()
            self.purse.reset()
            await local.join(self.worker, inf, self._wall())

    async def _tell_local(self) -> None:
        if self._local is not None:
            self._batches += 1
            rows, changes = tuple(self._rows.values()), self.purse.changes()
            batch = Batch(self.worker, self._batches, rows, changes)
            await self._local.sync(batch, inf, self._wall())

    def _lose(self, fault: StoreDown) -> None:
        """Nobody knows what the store did: all that was held is left to the lease's end."""
        if not self.is_down:
            self.is_down = self._told_down = True
            logger.error("the store is down", extra={"fields": {"why": str(fault)}})
            self._lease_ends = 0
            self.purse.reset()
            self._wake.set()

    async def _beat(self) -> None:
        now = self._wall()
        if trio.current_time() >= self._next_beat:
            self._next_beat = trio.current_time() + _BEAT
            self._beats += 1
            self.purse.tidy(now)
            for row in self.running():
                self._rows.setdefault(row.id, row)
            self.on_beat()
        try:
            await self._tell(now)
            if self._beats % _EXPIRE == 0:
                self._beats += 1
                await self._expire(now)
        except LeaseLost:
            self._lease_ends = 0
            await self._join_again()
        except StoreDown as fault:
            self._lose(fault)

    @property
    def _owes(self) -> bool:
        """Whether the store does not know everything yet that this worker has to tell."""
        return bool(self._rows or self.purse.has_changes or self._unsure is not None)

    async def _tell(self, now: float) -> None:
        """Sends what has gathered; what was not confirmed before goes first, unchanged."""
        if self._local is not None:
            return await self._tell_local()
        async with self._telling:
            await self._send(now)

    async def _send(self, now: float) -> None:
        batch = self._unsure
        if batch is None or batch.worker != self.worker:
            rows = {row.id: row for row in (batch.rows if batch is not None else ())} | self._rows
            self._batches += 1
            batch = Batch(self.worker, self._batches, tuple(rows.values()), self.purse.changes())
            self._rows = {}
        self._unsure, began = batch, trio.current_time()
        synced = await _in_time(self.store.sync(batch, LEASE, now))
        self._unsure = None
        if not synced.is_alive:
            raise LeaseLost
        self._lease_ends = began + LEASE - _MARGIN
        if self._rows:
            self._wake.set()
        if synced.accounts != self.accounts:
            self.accounts = synced.accounts
            self.on_change()
            await _in_time(self._look_for_keys())

    async def _expire(self, now: float) -> None:
        for row in await _in_time(self.store.expire(now)):
            fields = {"row": row.id, "request_id": row.request_id, "cost": row.cost}
            logger.warning("a dead worker's request was settled", extra={"fields": fields})

    async def _leave(self) -> None:
        try:
            if not self.is_down:
                await self._tell(self._wall())
                await self.store.leave(self.worker, self._wall())
        except (StoreDown, LeaseLost):
            logger.warning("the store could not be told the last")
        await self.store.close()


async def _in_time(asking: Awaitable[T]) -> T:
    """Raises StoreDown if the store takes too long."""
    with trio.move_on_after(_PATIENCE):
        return await asking
    raise StoreDown(f"the store did not answer within {_PATIENCE:g} s")
