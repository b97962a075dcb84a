"""`/metrics`: on the router's own address, or on a listener of its own that serves nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.reply import Reply
from trio_router.api.request import ClientRequest
from trio_router.api.table import EndpointRow, EndpointTable
from trio_router.policy.origins import Origins
from trio_router.server.request_body import RequestBody
from trio_router.wire.addresses import is_loopback

if TYPE_CHECKING:
    from trio_router.api.table import Endpoint
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.router import Router
    from trio_router.server.link import Link

METRICS = "/metrics"
_HEADERS = {
    "content-type": "text/plain; version=0.0.4; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


async def metrics(asked: ClientRequest) -> Reply:
    """`GET /metrics`, without asking for a key."""
    router = asked.router

    def sample() -> None:
        router.show_states()
        router.metrics.sample(router.target_reports())

    return Reply(200, dict(_HEADERS), await router.metrics.render(sample))


class MetricsApp:
    """The application of the metrics' own listener: `metrics` answers `GET /metrics`, nothing else."""

    def __init__(self, router: Router, metrics: Endpoint) -> None:
        self.router = router
        self._table = EndpointTable({("GET", METRICS): EndpointRow(metrics, is_booked=False)})
        host = router.generation.config.server.metrics.host
        # By whether there are keys.
        self._origins = {
            has_keys: Origins(None, has_keys=has_keys, is_any_host=not is_loopback(host))
            for has_keys in (False, True)
        }

    def origins(self, generation: Generation) -> Origins:
        """Which web pages may ask, and by which names."""
        return self._origins[bool(generation.config.auth.keys)]

    def row_of(self, method: str, path: str) -> EndpointRow:
        """What answers; its endpoint raises RouterError where nothing does."""
        return self._table.find(method, path)

    def new_body(self, path: str, declared: int | None) -> RequestBody:
        """The body of a request, which is dropped."""
        return RequestBody(0, declared)

    def request(self, link: Link) -> ClientRequest:
        """The request that came in on `link`."""
        return ClientRequest(self, link)
