"""A store in memory: of one process, and of all workers of a simulation.

No operation waits in between, so each is one step.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trio_router.ledger.ceilings import (
    MINUTE,
    SLICE,
    Grant,
    Level,
    Refused,
    Taken,
    leaves,
    longest,
    room_after,
    slice_of,
)
from trio_router.ledger.queries import MOST_ROWS, KeyPage, RowPage, TeamPage
from trio_router.ledger.rows import RowState, charged, expired, next_row
from trio_router.ledger.sliding import SlidingMinute
from trio_router.ledger.sums import summed
from trio_router.stores.interface import Conflict, LeaseLost, Synced, distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.ceilings import Ceiling, Change, Want
    from trio_router.ledger.queries import AuditEntry, By, RowFilter, SpendLine
    from trio_router.ledger.rows import LedgerRow
    from trio_router.stores.interface import Batch

T = TypeVar("T")


class MemoryStore:
    """What a process keeps as long as it lives."""

    def __init__(self) -> None:
        self._minutes: dict[str, SlidingMinute] = {}
        self._spent: dict[str, int] = {}
        self._held: dict[str, dict[str, int]] = {}  # counter -> worker -> amount
        self._leases: dict[str, float] = {}  # worker -> when it ends
        self._batches: dict[str, int] = {}  # worker -> number of the last batch
        self._rows: dict[str, LedgerRow] = {}
        self._order: list[tuple[float, str]] = []  # of rows: when they began, id
        self._reserved: dict[str, set[str]] = {}  # worker -> ids of rows
        self._keys: dict[str, Key] = {}
        self._hashes: dict[str, str] = {}  # hash -> id of the key
        self._teams: dict[str, Team] = {}
        self._audit: list[AuditEntry] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    # -- counters

    async def join(self, worker: str, lease: float, now: float) -> int:
        self._leases[worker] = now + lease
        return len(self._audit)

    async def take(self, worker: str, wants: Sequence[Want], now: float) -> Taken | Refused:
        distinct(wants)
        if self._leases.get(worker, 0) <= now:
            raise LeaseLost
        refusals = [found for want in wants if (found := self._refusal(want, now)) is not None]
        if refusals:
            return longest(refusals)
        return Taken(tuple(self._grant(worker, want, now) for want in wants))

    def _refusal(self, want: Want, now: float) -> Refused | None:
        ceiling, used = want.ceiling, self._used(want.ceiling, now)
        if ceiling.is_soft or used + want.amount <= ceiling.most:
            return None
        if ceiling.kind.slides:
            after = self._minutes[ceiling.counter].after(want.amount, ceiling.most, now)
        else:
            after = room_after(ceiling, want.amount, now)
        return Refused(ceiling, used, after)

    def _used(self, ceiling: Ceiling, now: float) -> int:
        counter = ceiling.counter
        if ceiling.kind.slides:
            minute = self._minutes.setdefault(counter, SlidingMinute())
            minute.forget(now)
            return minute.total
        return self._spent.get(counter, 0) + sum(self._held.get(counter, {}).values())

    def _grant(self, worker: str, want: Want, now: float) -> Grant:
        ceiling = want.ceiling
        used = self._used(ceiling, now) + want.amount
        extra = slice_of(want.extra, ceiling.most - used, ceiling.most)
        if not ceiling.kind.slides:
            held = self._held.setdefault(ceiling.counter, {})
            held[worker] = held.get(worker, 0) + want.amount + extra
            return Grant(want.amount, extra, used + extra)
        at, extra_at = leaves(now), leaves(now, SLICE + MINUTE)
        minute = self._minutes[ceiling.counter]
        minute.add(want.amount, at)
        minute.add(extra, extra_at)
        return Grant(want.amount, extra, used + extra, at, extra_at)

    async def sync(self, batch: Batch, lease: float, now: float) -> Synced:
        worker = batch.worker
        is_alive = self._leases.get(worker, 0) > now
        if is_alive:
            self._leases[worker] = now + lease
        if batch.number > self._batches.get(worker, 0):
            self._batches[worker] = batch.number
            for row in batch.rows:
                self._write(row)
            if is_alive:
                for change in batch.changes:
                    self._change(worker, change, now)
        return Synced(is_alive, len(self._audit))

    def _change(self, worker: str, change: Change, now: float) -> None:
        if not change.at:
            self._give_back(change.counter, worker, -change.amount)
        elif (minute := self._minutes.get(change.counter)) is not None:
            minute.forget(now)
            if change.at > leaves(now, 0):
                minute.add(change.amount, change.at)

    def _give_back(self, counter: str, worker: str, amount: int) -> None:
        held = self._held.get(counter, {})
        if worker in held:
            held[worker] = max(0, held[worker] - max(0, amount))

    def _write(self, row: LedgerRow) -> None:
        """Takes a row; what it settles goes over from what its worker holds to what is spent."""
        known = self._rows.get(row.id)
        new = next_row(known, row)
        if new is None:
            return
        if known is None:
            insort(self._order, (row.began_at, row.id))
        self._rows[row.id] = new
        for counter, amount in charged(known, new).items():
            self._spent[counter] = self._spent.get(counter, 0) + amount
            if known is None or known.state is RowState.RESERVED:
                self._give_back(counter, row.worker, amount)
        open_rows = self._reserved.setdefault(row.worker, set())
        (open_rows.add if new.state is RowState.RESERVED else open_rows.discard)(row.id)

    async def leave(self, worker: str, now: float) -> None:
        self._end(worker, now)

    async def expire(self, now: float) -> list[LedgerRow]:
        over = [worker for worker, ends in self._leases.items() if ends <= now]
        ended = [row for worker in over for row in self._end(worker, now)]
        for counter, minute in list(self._minutes.items()):
            minute.forget(now)
            if not minute.total:
                del self._minutes[counter]
        return ended

    def _end(self, worker: str, now: float) -> list[LedgerRow]:
        self._leases.pop(worker, None)
        self._batches.pop(worker, None)
        ended = [expired(self._rows[id_], now) for id_ in sorted(self._reserved.pop(worker, ()))]
        for row in ended:
            self._write(row)
        self._reserved.pop(worker, None)
        for held in self._held.values():
            held.pop(worker, None)
        return ended

    async def levels(self, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
        return [self._level(ceiling, now) for ceiling in ceilings]

    def _level(self, ceiling: Ceiling, now: float) -> Level:
        if ceiling.kind.slides:
            return Level(self._used(ceiling, now))
        held = sum(self._held.get(ceiling.counter, {}).values())
        return Level(self._spent.get(ceiling.counter, 0), held)

    async def rebuild(self) -> None:
        self._spent = {}
        for row in self._rows.values():
            for counter, amount in charged(None, row).items():
                self._spent[counter] = self._spent.get(counter, 0) + amount

    # -- keys and teams

    async def add_key(self, key: Key, audit: AuditEntry) -> None:
        if key.id in self._keys or key.hash in self._hashes:
            raise Conflict(f"there is a key {key.id} already")
        self._put_key(key, audit)

    async def change_key(self, key: Key, audit: AuditEntry, before: Key | None = None) -> bool:
        known = self._keys.get(key.id)
        if known is None:
            return False
        if before is not None and before != known:
            raise Conflict(f"the key {key.id} was changed meanwhile")
        for hashed in (known.hash, known.old_hash):
            self._hashes.pop(hashed or "", None)
        self._put_key(key, audit)
        return True

    def _put_key(self, key: Key, audit: AuditEntry) -> None:
        self._keys[key.id] = key
        self._hashes |= {hashed: key.id for hashed in (key.hash, key.old_hash) if hashed}
        self._note(audit)

    async def key_of(self, hashed: str) -> Key | None:
        found = self._hashes.get(hashed)
        return None if found is None else self._keys[found]

    async def key(self, id: str) -> Key | None:  # noqa: A002
        return self._keys.get(id)

    async def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        found = _page(self._keys, after, limit, lambda key: team is None or key.team == team)
        return KeyPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def put_team(self, team: Team, audit: AuditEntry) -> None:
        self._teams[team.id] = team
        self._note(audit)

    async def remove_team(self, id: str, audit: AuditEntry) -> bool:  # noqa: A002
        if self._teams.pop(id, None) is None:
            return False
        self._note(audit)
        return True

    async def team(self, id: str) -> Team | None:  # noqa: A002
        return self._teams.get(id)

    async def teams(self, *, after: str | None = None, limit: int = 100) -> TeamPage:
        found = _page(self._teams, after, limit, lambda _: True)
        return TeamPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def note(self, audit: AuditEntry) -> None:
        self._note(audit)

    def _note(self, audit: AuditEntry) -> None:
        number = len(self._audit) + 1
        self._audit.append(msgspec.structs.replace(audit, number=number))

    async def audit(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        end = len(self._audit) if before is None else max(0, min(len(self._audit), before - 1))
        return self._audit[max(0, end - limit) : end][::-1]

    # -- rows

    async def row(self, id: str) -> LedgerRow | None:  # noqa: A002
        return self._rows.get(id)

    async def rows(self, of: RowFilter, *, after: str | None = None, limit: int = 100) -> RowPage:
        limit = min(limit, MOST_ROWS)
        end = len(self._order)
        if after is not None:
            last = self._rows.get(after)
            end = 0 if last is None else bisect_left(self._order, (last.began_at, after))
        found: list[LedgerRow] = []
        for _, id_ in reversed(self._order[:end]):
            if of.takes(self._rows[id_]):
                found.append(self._rows[id_])
                if len(found) > limit:
                    break
        return RowPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def spend(self, by: By, of: RowFilter) -> list[SpendLine]:
        return summed((row for row in self._rows.values() if of.takes(row)), by)


def _page(items: dict[str, T], after: str | None, limit: int, takes: Callable[[T], bool]) -> list[T]:
    """One more than `limit` of the items, by their names."""
    names = sorted(items)
    begin = 0 if after is None else bisect_right(names, after)
    found = []
    for name in names[begin:]:
        if takes(items[name]):
            found.append(items[name])
            if len(found) > limit:
                break
    return found
