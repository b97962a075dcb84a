"""What a store does.

A worker *joins* with a name that was never used, and thereby gets a lease of some seconds.  It *takes*
what requests need of their ceilings (all of one request in one step, and a little more in advance), and
*syncs* about once a second: that renews the lease, and carries rows and changes.  What belongs to a
worker whose lease has ended is *expired* by any other: its holdings end, and its rows cost what was
last known.

`now` is the worker's wall time in Unix seconds.  A store of several machines uses its own clock in its
place, so that clocks that differ do not matter.  Leases are therefore told in seconds from now.

Every operation raises StoreDown where the store cannot be reached, and has then either happened or not.
It can be repeated: rows and batches are known again, and what a `take` took unheard ends with the
lease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.ceilings import Ceiling, Change, Level, Refused, Taken, Want
    from trio_router.ledger.queries import (
        AuditEntry,
        By,
        KeyPage,
        RowFilter,
        RowPage,
        SpendLine,
        TeamPage,
    )
    from trio_router.ledger.rows import LedgerRow


class StoreDown(Exception):
    """The store cannot be reached, or cannot do its work."""


class LeaseLost(Exception):
    """The worker never joined, or its lease has ended: it joins again under another name."""


class Conflict(Exception):
    """What was to be made is there already."""


class Batch(msgspec.Struct, frozen=True):
    """What a worker has to tell.  `number` rises by one with each: a batch that came already is
    ignored.

    The rows may be of a name that the worker had before.
    """

    worker: str
    number: int
    rows: tuple[LedgerRow, ...] = ()
    changes: tuple[Change, ...] = ()


class Synced(msgspec.Struct, frozen=True):
    """`is_alive`: the lease was still there and is renewed.  If not, the rows were taken all the same,
    and the changes were not.

    `accounts` changes whenever any key or team does: what was cached of them is then out of date.
    """

    is_alive: bool
    accounts: int


class Store(Protocol):
    async def open(self) -> None:
        """Makes what is missing, brings an older file or database up to date.  May be called again."""

    async def close(self) -> None:
        """Ends what `open` began; what was confirmed is kept."""

    # -- counters

    async def join(self, worker: str, lease: float, now: float) -> int:
        """A new worker is there for `lease` seconds.  Returns `accounts`, as Synced has it."""

    async def take(self, worker: str, wants: Sequence[Want], now: float) -> Taken | Refused:
        """Takes all that is wanted, or nothing.  Raises LeaseLost.

        Wants of several ceilings with one counter are not allowed.
        """

    async def sync(self, batch: Batch, lease: float, now: float) -> Synced:
        """Renews the lease and takes the batch, in one step."""

    async def leave(self, worker: str, now: float) -> None:
        """The worker ends in good order.  What it still holds ends, as `expire` does it."""

    async def expire(self, now: float) -> list[LedgerRow]:
        """Ends what belongs to workers whose lease has ended; returns the rows that it expired."""

    async def levels(self, ceilings: Sequence[Ceiling], now: float) -> list[Level]:
        """What each ceiling's counter says, in order."""

    async def rebuild(self) -> None:
        """Sets what every budget's counter has spent from the rows (it adds nothing to it)."""

    # -- keys and teams

    async def add_key(self, key: Key, audit: AuditEntry) -> None:
        """Raises Conflict if there is a key of this id or hash."""

    async def change_key(self, key: Key, audit: AuditEntry, before: Key | None = None) -> bool:
        """Replaces the key of this id; False if there is none.

        With `before`, raises Conflict if the key is not that any more: somebody else has changed it.
        """

    async def key_of(self, hashed: str) -> Key | None:
        """The key whose hash is, or was before a rotation, `hashed`."""

    async def key(self, id: str) -> Key | None: ...  # noqa: A002

    async def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        """Keys by their ids, those of `team` alone if it is given."""

    async def put_team(self, team: Team, audit: AuditEntry) -> None:
        """Makes the team of this id, or replaces it."""

    async def remove_team(self, id: str, audit: AuditEntry) -> bool:  # noqa: A002
        """False if there is none.  Its keys stay, and name a team that is not there."""

    async def team(self, id: str) -> Team | None: ...  # noqa: A002

    async def teams(self, *, after: str | None = None, limit: int = 100) -> TeamPage: ...

    async def note(self, audit: AuditEntry) -> None:
        """Writes down an administrative act that changes neither a key nor a team."""

    async def audit(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Administrative acts, the latest first; those with a lower number than `before`."""

    # -- rows

    async def row(self, id: str) -> LedgerRow | None: ...  # noqa: A002

    async def rows(self, of: RowFilter, *, after: str | None = None, limit: int = 100) -> RowPage:
        """Rows, the latest first.  `after` is the `next` of the page before."""

    async def spend(self, by: By, of: RowFilter) -> list[SpendLine]:
        """Sums of what was settled or expired, the most expensive group first."""


def distinct(wants: Iterable[Want]) -> None:
    """Raises ValueError if two wants have one counter, or one is below zero."""
    seen: set[str] = set()
    for want in wants:
        if want.ceiling.counter in seen:
            raise ValueError(f"two wants of one counter: {want.ceiling.counter}")
        if want.amount < 0 or want.extra < 0:
            raise ValueError("nobody can want less than nothing")
        seen.add(want.ceiling.counter)
