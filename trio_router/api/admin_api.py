"""The table of what administrators ask for: keys, teams, spend, requests, the audit log.

It is there twice: for programs below `/admin/v1`, and for the dashboard below its own path, where its
cookie is sent.  Every endpoint is told who asks: the name of the admin key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.admin import admin_reply, refuse_other_sites
from trio_router.api.admin_keys import KeyEndpoints
from trio_router.api.admin_ledger import LedgerEndpoints
from trio_router.api.admin_openapi import description
from trio_router.api.admin_teams import TeamEndpoints
from trio_router.api.table import Below, EndpointRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.api.admin_acts import AdminEndpoint
    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.api.table import Endpoint

    # Makes an endpoint for everyone of one for administrators: it refuses all others.
    Known = Callable[[AdminEndpoint], Endpoint]

ADMIN = "/admin/v1"
OPENAPI = f"{ADMIN}/openapi.json"
_READING = ("GET", "HEAD")


class AdminApi:
    """What is answered below each of `roots`."""

    def __init__(self, known: Known, *roots: str) -> None:
        self._known = known
        self.rows: dict[tuple[str, str], EndpointRow] = {}
        self.below: list[Below] = []
        for root in roots:
            self._add(KeyEndpoints(root), TeamEndpoints(root), LedgerEndpoints(root))
        self.rows["GET", OPENAPI] = self._row(openapi)

    def _add(self, keys: KeyEndpoints, teams: TeamEndpoints, ledger: LedgerEndpoints) -> None:
        self.rows |= {
            ("GET", keys.path): self._row(keys.list),
            ("POST", keys.path): self._row(keys.create),
            ("GET", teams.path): self._row(teams.list),
            ("POST", teams.path): self._row(teams.create),
            ("GET", ledger.spend_path): self._row(ledger.spend),
            ("GET", ledger.days_path): self._row(ledger.days),
            ("GET", ledger.requests_path): self._row(ledger.requests),
            ("GET", ledger.audit_path): self._row(ledger.audit),
        }
        self.below += [
            Below(f"{keys.path}/", keys.methods, self._row(keys.one)),
            Below(f"{teams.path}/", teams.methods, self._row(teams.one)),
            Below(f"{ledger.requests_path}/", ledger.methods, self._row(ledger.request)),
        ]

    def _row(self, endpoint: AdminEndpoint) -> EndpointRow:
        return EndpointRow(self._known(of_this_site(endpoint)), is_booked=False)


def of_this_site(endpoint: AdminEndpoint) -> AdminEndpoint:
    """`endpoint`, which no page of another site can make change anything."""

    async def answer(asked: ClientRequest, who: str) -> Reply:
        if asked.link.method not in _READING:
            refuse_other_sites(asked)
        return await endpoint(asked, who)

    return answer


async def openapi(asked: ClientRequest, who: str) -> Reply:
    """`GET /admin/v1/openapi.json`: all of this, as OpenAPI has it."""
    return admin_reply(description())
