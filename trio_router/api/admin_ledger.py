"""`/admin/v1/spend`, `/requests` and `/audit`: what was spent, by whom, and what administrators did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_router.api.accounts import opened
from trio_router.api.admin import admin_reply
from trio_router.api.admin_bodies import wrong
from trio_router.api.admin_query import (
    DAY,
    FILTERS,
    MOST_DAYS,
    PAGE,
    TIMES,
    USUAL_DAYS,
    by_of,
    filter_of,
    last_days,
    page_size,
    refuse_unknown,
    whole,
)
from trio_router.api.admin_shapes import (
    audit_told,
    days_told,
    listed,
    row_told,
    spend_csv,
    spend_told,
)
from trio_router.errors import NotFound
from trio_router.ledger.windows import day_of
from trio_router.money import dollars

if TYPE_CHECKING:
    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest

_MOST_NUMBER = (1 << 53) - 1


class LedgerEndpoints:
    """The endpoints of what has happened, below the path `root`."""

    def __init__(self, root: str) -> None:
        self.spend_path = f"{root}/spend"
        self.days_path = f"{root}/spend/days"
        self.requests_path = f"{root}/requests"
        self.audit_path = f"{root}/audit"

    async def spend(self, asked: ClientRequest, who: str) -> Reply:
        """Sums by key, team, model, provider or day, of the last 30 days if nothing is said."""
        query = asked.query
        refuse_unknown(query, ("by", "format", *FILTERS, *TIMES))
        kind = query.get("format", "json")
        if kind not in ("json", "csv"):
            raise wrong("format", "must be json or csv")
        by, now = by_of(query), asked.router.clock.wall()
        of = filter_of(query, now - USUAL_DAYS * DAY)
        async with opened(asked) as accounts:
            lines = await accounts.store.spend(by, of)
        if kind == "csv":
            reply = admin_reply({})
            reply.headers["content-type"] = "text/csv; charset=utf-8"
            reply.body = spend_csv(by, lines)
            return reply
        told: dict[str, Any] = {"object": "spend", "by": by, "since": of.since, "until": of.until}
        told["total_usd"] = dollars(sum(line.cost for line in lines))
        return admin_reply({**told, "data": [spend_told(line) for line in lines]})

    async def days(self, asked: ClientRequest, who: str) -> Reply:
        """What each group cost on each of the last days, in UTC; today is the last."""
        query = asked.query
        refuse_unknown(query, ("by", "days", *FILTERS))
        by, of = by_of(query), filter_of(query)
        begins = last_days(asked.router.clock.wall(), whole(query, "days", USUAL_DAYS, MOST_DAYS))
        sums = []
        async with opened(asked) as accounts:
            for begin in begins:
                day = msgspec.structs.replace(of, since=begin, until=begin + DAY)
                sums.append(await accounts.store.spend(by, day))
                await trio.lowlevel.checkpoint()
        days = [day_of(begin) for begin in begins]
        told = {"object": "spend.days", "by": by, "days": days}
        return admin_reply({**told, "data": days_told(days, sums)})

    async def requests(self, asked: ClientRequest, who: str) -> Reply:
        """A page of requests, the latest first."""
        query = asked.query
        refuse_unknown(query, (*PAGE, *FILTERS, *TIMES, "state"))
        limit, of = page_size(query), filter_of(query)
        async with opened(asked) as accounts:
            page = await accounts.store.rows(of, after=query.get("after"), limit=limit)
        return admin_reply(listed([row_told(row) for row in page.rows], page.next))

    def methods(self, path: str) -> set[str]:
        """Which methods a path below the requests' has."""
        return {"GET"} if path != f"{self.requests_path}/" else set()

    async def request(self, asked: ClientRequest, who: str) -> Reply:
        """One request, with its attempts and their costs."""
        name = asked.link.path.removeprefix(f"{self.requests_path}/")
        async with opened(asked) as accounts:
            row = await accounts.store.row(name)
        if row is None:
            raise NotFound("there is no such request in the ledger")
        return admin_reply(row_told(row))

    async def audit(self, asked: ClientRequest, who: str) -> Reply:
        """Administrative acts, the latest first; `before` is the number of one."""
        query = asked.query
        refuse_unknown(query, ("limit", "before"))
        limit = page_size(query)
        before = whole(query, "before", 0, _MOST_NUMBER) or None
        async with opened(asked) as accounts:
            entries = await accounts.store.audit(before=before, limit=limit + 1)
        shown = entries[:limit]
        following = shown[-1].number if len(entries) > limit else None
        return admin_reply(listed([audit_told(entry) for entry in shown], following))
