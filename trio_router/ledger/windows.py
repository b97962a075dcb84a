"""The windows of budgets.  A window's name is a part of its counter's name: nothing has to be reset."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

if TYPE_CHECKING:
    from trio_router.ledger.accounts import Per


class Window(msgspec.Struct, frozen=True):
    """A window by its name, from `begins` to before `ends`, in Unix seconds; None: it never ends."""

    name: str
    begins: float = 0
    ends: float | None = None


_EVER = Window("total")


def window_at(per: Per, timezone: str, now: float) -> Window:
    """The window of a budget that holds the Unix time `now`."""
    if per == "total":
        return _EVER
    zone = zone_of(timezone)
    day = datetime.fromtimestamp(now, zone).date()
    match per:
        case "day":
            first, after, name = day, day + timedelta(days=1), day.isoformat()
        case "week":
            first = day - timedelta(days=day.weekday())
            after, name = first + timedelta(days=7), "{}-W{:02d}".format(*day.isocalendar())
        case "month":
            first = day.replace(day=1)
            after, name = (first + timedelta(days=31)).replace(day=1), f"{day:%Y-%m}"
    begins, ends = (_midnight(one.year, one.month, one.day, zone) for one in (first, after))
    return Window(f"{name} {timezone}", begins, ends)


def _midnight(year: int, month: int, day: int, zone: ZoneInfo) -> float:
    """When the day begins.  Where a change of clocks leaves midnight out, it begins after that."""
    return datetime.combine(datetime(year, month, day), time(), zone).timestamp()


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Raises ValueError for a time zone that there is not."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


def day_of(at: float) -> str:
    """The day of a Unix time, in UTC."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()
