"""`/admin/v1/config`: what configuration is in force, and the request to read its file again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.api.admin_acts import noted
from trio_router.api.reply import Reply, json_reply
from trio_router.api.table import EndpointRow
from trio_router.errors import Forbidden, InvalidRequest
from trio_router.policy.admins import is_same_origin
from trio_router.runtime.reload import Result, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.api.admin_acts import AdminEndpoint
    from trio_router.api.request import ClientRequest
    from trio_router.api.table import Endpoint, EndpointRows
    from trio_router.runtime.reload import Reloader

CONFIG = "/admin/v1/config"
RELOAD = f"{CONFIG}/reload"
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class ConfigEndpoints:
    """`known` lets only operators ask, whoever may see the dashboard, and says who does."""

    def __init__(self, reloader: Reloader, known: Callable[[AdminEndpoint], Endpoint]) -> None:
        self._reloader = reloader
        self._known = known

    def rows(self) -> EndpointRows:
        """What is answered, by method and path."""
        return {
            ("GET", CONFIG): EndpointRow(self._known(self.config), is_booked=False),
            ("POST", RELOAD): EndpointRow(self._known(self.reload), is_booked=False),
        }

    async def config(self, asked: ClientRequest, who: str) -> Reply:
        """What is in force: its number, since when, from where; and the last reload's report."""
        reloader = self._reloader
        last = reloader.last
        told = {
            "generation": asked.router.generation.number,
            "loaded_at": reloader.loaded_at,
            "source": None if reloader.source is None else str(reloader.source.path.absolute()),
            "last_reload": None if last is None else last.as_message(),
        }
        return admin_reply(told)

    async def reload(self, asked: ClientRequest, who: str) -> Reply:
        """Reads the file and takes it.  Answers with the report, and with 422 if it was refused."""
        refuse_other_sites(asked)
        report = await self._reloader.reload(Trigger.ADMIN)
        await noted(asked.router, who, "config.reload", "config", result=str(report.result))
        if report.result is not Result.REFUSED:
            return admin_reply(report.as_message())
        error = InvalidRequest("\n".join(report.complaints), status=422, code="config_refused")
        return admin_reply({**report.as_message(), **error.body()}, error.status)


def admin_reply(told: dict[str, Any], status: int = 200) -> Reply:
    """`told` as JSON that nobody keeps."""
    reply = json_reply(told, status)
    reply.headers |= _HEADERS
    return reply


def refuse_other_sites(asked: ClientRequest) -> None:
    """A page of another site must not be able to do anything here.  Raises Forbidden.

    Programs send neither of the headers that tell pages apart.
    """
    site, origin, host = (
        asked.header(name).decode("latin-1") for name in (b"sec-fetch-site", b"origin", b"host")
    )
    if asked.header(b"authorization") or not (site or origin):
        return
    if not is_same_origin(site=site, origin=origin, host=host):
        raise Forbidden("a page of another site may not ask for this")
