"""`/`: what this is, for who asks it in a browser, in a terminal or in a health check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.reply import Reply, json_reply
from trio_router.api.table import EndpointRow

if TYPE_CHECKING:
    from trio_router.api.request import ClientRequest

_TOLD = {
    "name": "trio-router",
    "status": "ok",
    "models": "/v1/models",
    "health": "/healthz",
    "dashboard": "/dashboard",
}
_LEADS = {"location": "/dashboard", "vary": "accept", "cache-control": "no-store"}


async def front(asked: ClientRequest) -> Reply:
    """`GET /`; a browser is led to the dashboard."""
    if b"text/html" in asked.header(b"accept").lower():
        return Reply(302, dict(_LEADS))
    return json_reply(_TOLD, vary="accept")


FRONT = {("GET", "/"): EndpointRow(front, is_booked=False)}
