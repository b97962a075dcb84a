"""What can be asked of the ledger: rows, page by page, and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.rows import LedgerRow, RowState

By = Literal["key", "team", "model", "provider", "day"]
MOST_ROWS = 1000  # on one page


class RowFilter(msgspec.Struct, frozen=True):
    """Which rows; None is all.  `since` and `until` are Unix seconds, of when a request began.

    `provider` is that of any attempt; `model` is what the client asked for, or `provider/model` of any.
    """

    key: str | None = None
    team: str | None = None
    model: str | None = None
    provider: str | None = None
    state: RowState | None = None
    since: float | None = None
    until: float | None = None

    def takes(self, row: LedgerRow) -> bool:
        return (
            (self.key is None or row.key == self.key)
            and (self.team is None or row.team == self.team)
            and (self.model is None or self.model in (row.model, *(a.target for a in row.attempts)))
            and (self.provider is None or any(a.provider == self.provider for a in row.attempts))
            and (self.state is None or row.state is self.state)
            and (self.since is None or row.began_at >= self.since)
            and (self.until is None or row.began_at < self.until)
        )


class RowPage(msgspec.Struct, frozen=True):
    """Rows, the latest first.  `next` is where the next page begins; None: there is none."""

    rows: tuple[LedgerRow, ...]
    next: str | None = None


class KeyPage(msgspec.Struct, frozen=True):
    """Keys, by their ids.  `next` is the id after which the next page begins."""

    keys: tuple[Key, ...]
    next: str | None = None


class TeamPage(msgspec.Struct, frozen=True):
    teams: tuple[Team, ...]
    next: str | None = None


class SpendLine(msgspec.Struct, frozen=True):
    """The sum of the attempts of one group: of a key, of a target (`provider/model`), of a day in UTC.

    Reserved rows are left out: they have cost nothing yet.  `unpriced` is how many attempts used
    something that has no known price, `estimated` how many have guessed tokens.  `requests` are the
    rows that have such an attempt, and by key, team and day also those without any.
    """

    group: str
    requests: int = 0
    attempts: int = 0
    input: int = 0
    output: int = 0
    cost: int = 0
    estimated: int = 0
    unpriced: int = 0


class AuditEntry(msgspec.Struct, frozen=True):
    """An administrative act.  `number` is the store's, and rises."""

    at: float
    actor: str
    act: str  # such as key.create
    subject: str
    detail: dict[str, str] = {}
    number: int = 0
