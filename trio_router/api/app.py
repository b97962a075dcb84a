"""The application: the table of endpoints, for our own server and for any that speaks ASGI.

Quart is the adapter to ASGI alone: its connection class is ours, and its lifespan runs the router's
life.  Views that somebody adds to it are not served: all endpoints stand in `table`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from quart_trio import QuartTrio

from trio_router.api.asgi import NoWebsocket, RelayConnection
from trio_router.api.azure import AZURE
from trio_router.api.endpoints import CHAT_COMPLETIONS, MODELS_BELOW, OWN, chat_completions, client_call
from trio_router.api.front import FRONT
from trio_router.api.google import GOOGLE, GOOGLE_BELOW
from trio_router.api.metrics_side import METRICS
from trio_router.api.ollama import OLLAMA
from trio_router.api.own_key import OWN_KEY
from trio_router.api.passing import FILES_BELOW, PASSING_THROUGH, UPLOADS
from trio_router.api.request import ClientRequest
from trio_router.api.sides import SIDES
from trio_router.api.socket import RESPONSES, responses_socket
from trio_router.api.table import EndpointRow, EndpointTable
from trio_router.dialects import CLIENTS
from trio_router.server.request_body import RequestBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trio_router.api.table import Endpoint, EndpointRows
    from trio_router.policy.origins import Origins
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.router import Router
    from trio_router.server.link import Link


_UPLOAD_ENDS = tuple(path.removeprefix("/v1") for path in UPLOADS)


class RouterApp(QuartTrio):
    """The application of one router.

    `more` are endpoints beside the APIs' own, the dashboard's for one.  `metrics` answers
    `GET /metrics`.  `beside` is what runs beside the requests.
    """

    asgi_http_class = RelayConnection  # type: ignore[mutable-override]
    asgi_websocket_class = NoWebsocket  # type: ignore[assignment]

    def __init__(
        self,
        router: Router,
        metrics: Endpoint,
        more: EndpointRows,
        *,
        beside: Iterable[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        super().__init__("trio_router", static_folder=None)
        self.router = router
        self.metrics = metrics
        self.beside = tuple(beside)
        self._leaving = trio.Event()
        self._has_left = trio.Event()
        exact: dict[tuple[str, str], EndpointRow] = {
            ("POST", CHAT_COMPLETIONS): EndpointRow(chat_completions),
            **{("POST", path): EndpointRow(client_call) for path in CLIENTS},
            **GOOGLE,
            **FRONT,
            **SIDES,
            **PASSING_THROUGH,
            **OWN,
            **OWN_KEY,
            **OLLAMA,
            ("GET", RESPONSES): EndpointRow(responses_socket),
            **more,
        }
        if router.generation.config.server.metrics.port is None:
            exact["GET", METRICS] = EndpointRow(metrics, is_booked=False)
        self.table = EndpointTable(exact, (MODELS_BELOW, *GOOGLE_BELOW, FILES_BELOW))
        self.before_serving(self._start)
        self.after_serving(self._stop)

    # -- what a server asks

    def new_body(self, path: str, declared: int | None) -> RequestBody:
        """The body of a request for `path`; `declared` is its content-length, None without one."""
        server, path = self.router.generation.config.server, self.table.paths.meant(path)
        if path in UPLOADS or (path.startswith(AZURE) and path.endswith(_UPLOAD_ENDS)):
            return RequestBody(server.max_upload, declared, is_streamed=True)
        return RequestBody(server.max_body, declared)

    def request(self, link: Link) -> ClientRequest:
        """The request that came in on `link`."""
        link.path = self.table.paths.meant(link.path)
        return ClientRequest(self, link)

    # -- what a request asks

    def row_of(self, method: str, path: str) -> EndpointRow:
        """What answers; its endpoint raises RouterError where nothing does."""
        return self.table.find(method, path)

    def origins(self, generation: Generation) -> Origins:
        """Which web pages may ask, and by which names."""
        return generation.origins

    # -- the router lives as long as ASGI's lifespan, in a task of the application's nursery

    async def _start(self) -> None:
        await self.nursery.start(self._live)

    async def _stop(self) -> None:
        self._leaving.set()
        await self._has_left.wait()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with self.router.running(), trio.open_nursery() as beside:
                for work in self.beside:
                    beside.start_soon(work)
                task_status.started()
                await self._leaving.wait()
                beside.cancel_scope.cancel()
        finally:
            self._has_left.set()
