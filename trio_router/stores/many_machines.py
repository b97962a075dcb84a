"""The store of many machines: counters in Valkey or Redis, the ledger and the accounts in PostgreSQL.

Counters.  What a budget has spent is the ledger's sum, set from there and never added up, and beside it
what rows cost of which the ledger has not yet said that it has them.  So whatever comes twice, or too
late, counts at most twice for a moment, and never too little; counters that are lost are read again.

Rows.  A batch goes to the counters first, then to the ledger; what the ledger has is confirmed to the
counters.  While the ledger is down, rows wait in the outbox, and in the counters' server, where any
worker finds those of a dead one (`expire`).
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_router.ledger.ceilings import (
    TICK,
    Grant,
    Level,
    Refused,
    Taken,
    longest,
    room_after,
)
from trio_router.ledger.rows import LedgerRow, RowState, expired
from trio_router.stores.interface import LeaseLost, StoreDown, Synced, distinct
from trio_router.stores.outbox import Carried, MemoryOutbox
from trio_router.stores.redis_link import RedisLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.ceilings import Ceiling, Want
    from trio_router.ledger.queries import (
        AuditEntry,
        By,
        KeyPage,
        RowFilter,
        RowPage,
        SpendLine,
        TeamPage,
    )
    from trio_router.stores.interface import Batch
    from trio_router.stores.outbox import Outbox
    from trio_router.stores.postgres import PostgresStore
    from trio_router.stores.postgres_counters import Recorded
    from trio_router.stores.postgres_rows import Spent

_PATIENCE = 2.0  # s
_AT_ONCE, _TURNS = 500, 20  # rows in one transaction, and transactions of the outbox in one sync
_REST = 2.0  # s for which a ledger that was down is left alone by those who renew their leases
_READS = 3  # times that what was spent is read for one take
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerRow).decode


class ManyMachinesStore:
    """Counters at `url` (redis://), the ledger in `ledger`.

    `patience` is for how many seconds a step of the counters
    may take.  With `own_clock=False` the workers' times count, and not the server's: for tests.
    """

    def __init__(
        self,
        url: str,
        ledger: PostgresStore,
        *,
        outbox: Outbox | None = None,
        patience: float = _PATIENCE,
        own_clock: bool = True,
    ) -> None:
        self._counters = RedisLink(url, patience)
        self.ledger = ledger
        self._outbox: Outbox = outbox or MemoryOutbox()
        self._own_clock = own_clock
        self._accounts = 0  # as the ledger said last
        self._carrying = trio.Lock()
        self._rests_until = -inf

    async def open(self) -> None:
        """Raises StoreDown if either cannot be reached.  They are looked for again all the same."""
        await self._counters.open()
        await self.ledger.open()
        await self._counters.run("alive", "")

    async def close(self) -> None:
        await self._counters.close()
        await self.ledger.close()
        await self._outbox.close()

    def _time(self, now: float) -> str:
        return "" if self._own_clock else repr(now)

    async def _step(self, now: float, step: str, *arguments: str | float | int) -> list[Any]:
        """A step that needs to know what was spent: it is read from the ledger if it is not known."""
        for _ in range(_READS):
            answer = await self._counters.run(step, self._time(now), *arguments)
            if answer[0] != "unknown":
                return answer
            await self._confirm((), await self.ledger.spent(answer[1:]))
        raise StoreDown("what was spent is forgotten as soon as it is read")

    async def _confirm(self, rows: Sequence[LedgerRow], spent: Sequence[Spent]) -> None:
        """The ledger has these rows, and says what was spent."""
        said = {
            "rows": [(row.id, row.state.value) for row in rows],
            "spent": [(one.counter, str(one.version), str(one.amount)) for one in spent],
        }
        await self._counters.run("confirm", "", _encode(said).decode())

    # -- counters

    async def join(self, worker: str, lease: float, now: float) -> int:
        await self._counters.run("join", self._time(now), worker, lease, repr(now))
        with suppress(StoreDown):  # the next sync tells
            self._accounts = await self.ledger.accounts()
        return self._accounts

    async def take(self, worker: str, wants: Sequence[Want], now: float) -> Taken | Refused:
        distinct(wants)
        if not wants:
            return Taken(())
        words: list[str | int] = []
        for want in wants:
            ceiling = want.ceiling
            most = "" if ceiling.is_soft else ceiling.most
            half = ceiling.most - ceiling.most // 2
            words += [ceiling.counter, ceiling.kind.value, most, want.amount, want.extra, half]
        answer = await self._step(now, "take", worker, *words)
        if answer[0] == "lost":
            raise LeaseLost
        if answer[0] == "refused":
            return _refused(wants, answer[1:])
        grants = zip(wants, _by(4, answer[1:]), strict=True)
        return Taken(
            tuple(
                Grant(want.amount, int(extra), int(used), int(at), int(extra_at))
                for want, (used, extra, at, extra_at) in grants
            )
        )

    async def sync(self, batch: Batch, lease: float, now: float) -> Synced:
        """The ledger gets the rows, whether or not the counters can be reached."""
        is_alive: bool | StoreDown
        try:
            answer = await self._counters.run("sync", self._time(now), _batch_text(batch, lease))
            is_alive = answer[1] == "1"
        except StoreDown as down:
            is_alive = down
        if batch.rows:
            await self._outbox.put(batch.worker, batch.rows)
        await self._carry(batch.worker, lease, now)
        if isinstance(is_alive, StoreDown):
            raise is_alive
        return Synced(is_alive, self._accounts)

    async def _carry(self, worker: str, lease: float, now: float) -> None:
        """Empties the outbox into the ledger, if it is there.  One task does so at a time."""
        async with self._carrying:
            for turn in range(_TURNS if trio.current_time() >= self._rests_until else 0):
                carried = await self._outbox.some(_AT_ONCE)
                if not carried and turn:
                    return
                try:
                    await self._carry_some(worker, lease, carried, now)
                except StoreDown:
                    return

    async def _carry_some(
        self, worker: str, lease: float, carried: Sequence[Carried], now: float
    ) -> None:
        of: dict[str, list[LedgerRow]] = {worker: []}
        for one in carried:
            of.setdefault(one.worker, []).append(one.row)
        for teller, rows in of.items():
            try:
                said = await self.ledger.record(teller, lease, rows, now)
            except StoreDown:  # it may have taken long to find out
                self._rests_until = trio.current_time() + _REST
                raise
            self._accounts = said.accounts
            if rows:
                await self._confirm(rows, said.spent)
        await self._outbox.done(carried)

    async def leave(self, worker: str, now: float) -> None:
        _, _, found = await self._counters.run("leave", self._time(now), worker)
        await self._record_ended(_rows_of(found), now)

    async def expire(self, now: float) -> list[LedgerRow]:
        ended: list[LedgerRow] = []
        for _ in range(_TURNS):
            _, count, found = await self._counters.run("expire", self._time(now))
            rows = _rows_of(found)
            ended += rows[: int(count)]
            if not await self._record_ended(rows, now) or len(rows) < _AT_ONCE:
                break
        known = {row.id for row in ended}
        others = await self._expire_in_ledger(now)
        return ended + [row for row in others if row.id not in known]

    async def _record_ended(self, rows: Sequence[LedgerRow], now: float) -> bool:
        """Whether the ledger has them now.  If not, the counters know them, and whoever looks next
        tries again."""
        try:
            for first in range(0, len(rows), _AT_ONCE):
                some = rows[first : first + _AT_ONCE]
                said = await self.ledger.record("", 0, some, now)
                await self._confirm(some, said.spent)
        except StoreDown:
            return False
        return True

    async def _expire_in_ledger(self, now: float) -> tuple[LedgerRow, ...]:
        """Rows that only the ledger knows: the counters have lost them, and their worker is dead."""
        _, alive = await self._counters.run("alive", self._time(now))
        try:
            said: Recorded = await self.ledger.expire_others(alive, now)
        except StoreDown:
            return ()
        await self._confirm(said.rows, said.spent)
        return said.rows

    async def levels(self, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
        found: list[Level] = []
        for first in range(0, len(ceilings), _AT_ONCE):
            some = ceilings[first : first + _AT_ONCE]
            words = [word for one in some for word in (one.counter, one.kind.value)]
            _, *figures = await self._step(now, "levels", *words)
            found += [Level(int(used), int(held)) for used, held in _by(2, figures)]
        return found

    async def rebuild(self) -> None:
        await self.ledger.rebuild()
        await self._counters.run("renew", "")

    # -- keys and teams

    async def add_key(self, key: Key, audit: AuditEntry) -> None:
        await self.ledger.add_key(key, audit)

    async def change_key(self, key: Key, audit: AuditEntry, before: Key | None = None) -> bool:
        return await self.ledger.change_key(key, audit, before)

    async def key_of(self, hashed: str) -> Key | None:
        return await self.ledger.key_of(hashed)

    async def key(self, id: str) -> Key | None:  # noqa: A002
        return await self.ledger.key(id)

    async def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        return await self.ledger.keys(team=team, after=after, limit=limit)

    async def put_team(self, team: Team, audit: AuditEntry) -> None:
        await self.ledger.put_team(team, audit)

    async def remove_team(self, id: str, audit: AuditEntry) -> bool:  # noqa: A002
        return await self.ledger.remove_team(id, audit)

    async def team(self, id: str) -> Team | None:  # noqa: A002
        return await self.ledger.team(id)

    async def teams(self, *, after: str | None = None, limit: int = 100) -> TeamPage:
        return await self.ledger.teams(after=after, limit=limit)

    async def note(self, audit: AuditEntry) -> None:
        await self.ledger.note(audit)

    async def audit(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        return await self.ledger.audit(before=before, limit=limit)

    # -- rows

    async def row(self, id: str) -> LedgerRow | None:  # noqa: A002
        return await self.ledger.row(id)

    async def rows(self, of: RowFilter, *, after: str | None = None, limit: int = 100) -> RowPage:
        return await self.ledger.rows(of, after=after, limit=limit)

    async def spend(self, by: By, of: RowFilter) -> list[SpendLine]:
        return await self.ledger.spend(by, of)


def _by(size: int, items: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [tuple(items[first : first + size]) for first in range(0, len(items), size)]


def _refused(wants: Sequence[Want], told: Sequence[str]) -> Refused:
    now = float(told[0])
    refusals = []
    for place, used, at in _by(3, told[1:]):
        want = wants[int(place)]
        if at:
            after: float | None = max(0.0, int(at) * TICK - now)
        else:
            after = None if want.ceiling.kind.slides else room_after(want.ceiling, want.amount, now)
        refusals.append(Refused(want.ceiling, int(used), after))
    return longest(refusals)


def _batch_text(batch: Batch, lease: float) -> str:
    """Amounts go as text, for the script's numbers are not exact beyond 2^53."""
    said = {
        "worker": batch.worker,
        "number": batch.number,
        "lease": lease,
        "rows": [
            {
                "id": row.id,
                "worker": row.worker,
                "state": row.state.value,
                "charges": _encode({name: str(n) for name, n in row.charges.items()}).decode(),
                "body": _encode(row).decode(),
            }
            for row in batch.rows
        ],
        "changes": [(one.counter, str(one.amount), str(one.at)) for one in batch.changes],
    }
    return _encode(said).decode()


def _rows_of(told: Sequence[str]) -> list[LedgerRow]:
    """Rows as the counters know them: those that were ended there were last told of as reserved."""
    rows = []
    for _, state, ended_at, body in _by(4, told):
        row = _decode(body)
        if state == RowState.EXPIRED and row.state is RowState.RESERVED:
            row = expired(row, float(ended_at))
        rows.append(row)
    return rows
