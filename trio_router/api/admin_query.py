"""What administrators ask for in a URL's query: pages, times, filters.  Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from trio_router.api.admin_bodies import wrong
from trio_router.ledger.queries import MOST_ROWS, By, RowFilter
from trio_router.ledger.rows import RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DAY = 86400
USUAL_DAYS = 30  # that are summed if nobody says since when
MOST_DAYS = 92  # of one plot
USUAL_PAGE = 100
FILTERS = ("key", "team", "model", "provider")
TIMES = ("since", "until")
PAGE = ("limit", "after")
CEILINGS = "ceilings"
WAYS: tuple[By, ...] = get_args(By)


def refuse_unknown(query: Mapping[str, str], known: Iterable[str]) -> None:
    """Raises InvalidRequest for a parameter that is not among `known`: it would be ignored."""
    names = tuple(known)
    for name in query:
        if name not in names:
            raise wrong(name[:100], f"is no parameter here; there are {', '.join(names)}")


def page_size(query: Mapping[str, str]) -> int:
    """How many entries a page has.  Raises InvalidRequest."""
    return whole(query, "limit", USUAL_PAGE, MOST_ROWS)


def whole(query: Mapping[str, str], name: str, usual: int, most: int) -> int:
    """A whole number from 1 to `most`.  Raises InvalidRequest."""
    text = query.get(name)
    if text is None:
        return usual
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:20]) <= most:
        raise wrong(name, f"must be a whole number from 1 to {most}")
    return int(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether something is wanted too.  Raises InvalidRequest."""
    given = query.get(name, "false")
    if given not in ("true", "false"):
        raise wrong(name, "must be true or false")
    return given == "true"


def by_of(query: Mapping[str, str], usual: By = "key") -> By:
    """What is summed by.  Raises InvalidRequest."""
    given = query.get("by", usual)
    for way in WAYS:
        if way == given:
            return way
    raise wrong("by", f"must be one of {', '.join(WAYS)}")


def filter_of(query: Mapping[str, str], since: float | None = None) -> RowFilter:
    """Which rows are meant; `since` is from when if the query does not say.  Raises InvalidRequest."""
    given = {name: query[name] for name in FILTERS if name in query}
    from_, until = (moment(query, name) for name in TIMES)
    return RowFilter(**given, state=_state(query), since=since if from_ is None else from_, until=until)


def _state(query: Mapping[str, str]) -> RowState | None:
    given = query.get("state")
    if given is None:
        return None
    try:
        return RowState(given)
    except ValueError:
        raise wrong("state", f"must be one of {', '.join(RowState)}") from None


def moment(query: Mapping[str, str], name: str) -> float | None:
    """A Unix time, given as one, as a date (its beginning in UTC) or in RFC 3339.

    Raises InvalidRequest.
    """
    text = query.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            # A plus sign in a query is a space.
            at = datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            at = None
        seconds = math.nan if at is None else _stamp(at)
    if not 0 <= seconds < 1 << 53:  # not NaN either
        raise wrong(name, "must be a time: Unix seconds, 2026-01-31 or 2026-01-31T12:00:00Z")
    return seconds


def _stamp(at: datetime) -> float:
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).timestamp()


def last_days(now: float, count: int) -> list[float]:
    """When each of the last `count` days in UTC began, today's last."""
    today = now // DAY * DAY
    return [today - DAY * back for back in range(count - 1, -1, -1)]
