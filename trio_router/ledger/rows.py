"""The ledger: one row a request, with what each of its attempts cost.

    reserved -> settled        the request has ended
    reserved -> expired        its worker's lease has ended: it costs what was last known
    expired  -> settled        the worker lived after all: what it says replaces what was known

A settled row never changes, so whoever is not sure whether a row arrived sends it again.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from trio_router.dialects.usage import Usage


class RowState(StrEnum):
    RESERVED = "reserved"
    SETTLED = "settled"
    EXPIRED = "expired"


class RowAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt: a try, a hedge, a replay, a stream that was drained.

    `cost` is in nano-dollars; None if it used nothing or no price is known.  `price` is where the price
    is from, with its version.
    """

    provider: str
    model: str
    outcome: str = ""
    used: Usage = Usage()
    cost: int | None = None
    price: str = ""

    @property
    def target(self) -> str:
        return f"{self.provider}/{self.model}" if self.model else self.provider


class LedgerRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request.  Times are in Unix seconds, money in nano-dollars.

    `id` is unique, while clients may repeat `request_id`.  `charges` is what the request costs each
    budget's counter: as far as is known while it is reserved.
    """

    id: str
    worker: str
    state: RowState
    began_at: float
    request_id: str = ""
    ended_at: float | None = None
    key: str = ""
    team: str = ""
    model: str = ""  # as the client named it: a route, or provider/model
    operation: str = "chat"
    outcome: str = ""
    status: int = 0
    cost: int = 0
    is_estimated: bool = False  # some of its tokens are guessed
    is_unpriced: bool = False  # some of it has no known price
    charges: dict[str, int] = {}
    attempts: tuple[RowAttempt, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """The provider of the last attempt."""
        return self.attempts[-1].provider if self.attempts else ""


def next_row(known: LedgerRow | None, said: LedgerRow) -> LedgerRow | None:
    """What stands in the ledger after `said`; None if nothing changes."""
    if known is None:
        return said
    match known.state, said.state:
        case RowState.SETTLED, _:
            return None
        case RowState.EXPIRED, RowState.RESERVED | RowState.EXPIRED:
            return None
        case _:
            return said


def charged(known: LedgerRow | None, new: LedgerRow) -> dict[str, int]:
    """How much more is spent of each budget's counter as `new` takes the place of `known`.

    A reserved row has spent nothing yet: its money is held.
    """
    before = {} if known is None or known.state is RowState.RESERVED else known.charges
    after = {} if new.state is RowState.RESERVED else new.charges
    more = {name: after.get(name, 0) - before.get(name, 0) for name in {**before, **after}}
    return {name: amount for name, amount in more.items() if amount}


def expired(row: LedgerRow, now: float) -> LedgerRow:
    """What a reserved row becomes when its worker's lease has ended."""
    return msgspec.structs.replace(
        row, state=RowState.EXPIRED, ended_at=now, outcome="expired", is_estimated=True
    )
