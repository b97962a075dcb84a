"""The ASGI application: our connection class, our endpoints, Quart's defaults undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from trio_router.api.admin import ConfigEndpoints
from trio_router.api.asgi import RelayConnection
from trio_router.api.endpoints import (
    CHAT_COMPLETIONS,
    chat_completions,
    client_call,
    error_response,
    register,
    response_of,
    this_request,
)
from trio_router.api.metrics_side import METRICS, metrics
from trio_router.api.passing import (
    PASSING_THROUGH,
    UPLOADS,
    file_endpoint,
    file_methods,
)
from trio_router.api.request import internal_error
from trio_router.api.sides import SIDES
from trio_router.dashboard.feed import Board
from trio_router.dashboard.pages import Dashboard
from trio_router.dialects import CLIENTS
from trio_router.errors import MethodNotAllowed, NotFound, RouterError
from trio_router.runtime.reload import Reloader
from trio_router.server.request_body import RequestBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response

    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.policy.origins import Origins
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.peers import Peers
    from trio_router.runtime.router import Router


class RouterApp(QuartTrio):
    """The application of one router; `peers` are the other workers that share its address.

    `reloader` reads its configuration again; by default there is no file to read.
    """

    asgi_http_class = RelayConnection  # type: ignore[mutable-override]

    def __init__(
        self, router: Router, peers: Peers | None = None, reloader: Reloader | None = None
    ) -> None:
        super().__init__("trio_router", static_folder=None)
        self.router = router
        self.peers = peers
        self.reloader = Reloader(router) if reloader is None else reloader
        self.config.update(
            RESPONSE_TIMEOUT=None,  # 60 s would cut long streams without a word
            BODY_TIMEOUT=None,
            MAX_CONTENT_LENGTH=None,  # our own limit gives a clear error
            PROPAGATE_EXCEPTIONS=False,
        )
        self.board = Board(router, peers, self.reloader)
        self._leaving = trio.Event()
        self._has_left = trio.Event()
        self.url_map.merge_slashes = False
        dashboard = Dashboard(self.board)
        self._open_metrics, self._guarded_metrics = metrics, dashboard.guarded(metrics)
        self.hot: dict[tuple[str, str], Callable[[ClientRequest], Awaitable[Reply]]] = {
            ("POST", CHAT_COMPLETIONS): chat_completions,
            **{("POST", path): client_call for path in CLIENTS},
            **SIDES,
            **PASSING_THROUGH,
            **dashboard.endpoints(),
            **ConfigEndpoints(self.reloader, dashboard.guarded).endpoints(),
        }
        register(self)
        if router.generation.config.server.metrics.port is None:
            self.add_url_rule(METRICS, view_func=_metrics, methods=["GET"])
        # Coroutine functions, all of them: Quart runs plain ones in a thread.
        self.register_error_handler(RouterError, _router_error)
        self.register_error_handler(HTTPException, _http_error)
        self.register_error_handler(Exception, _internal_error)
        self.before_serving(self._start)
        self.after_serving(self._stop)

    def endpoint_of(self, method: str, path: str) -> Callable[[ClientRequest], Awaitable[Reply]] | None:
        """What answers; None for what Quart's views do."""
        return self.hot.get((method, path)) or file_endpoint(method, path)

    def new_body(self, path: str, declared: int | None) -> RequestBody:
        """For a request's body, which says it has `declared` bytes, if it says so."""
        server = self.router.generation.config.server
        if path in UPLOADS:
            return RequestBody(server.max_upload, declared, is_streamed=True)
        return RequestBody(server.max_body, declared)

    def origins(self, generation: Generation) -> Origins:
        """Which web pages may ask, and by which names."""
        return generation.origins

    async def metrics(self, asked: ClientRequest) -> Reply:
        """`GET /metrics`, for whom the configuration lets ask.  Raises RouterError."""
        is_open = asked.generation.config.server.metrics.auth == "none"
        return await (self._open_metrics if is_open else self._guarded_metrics)(asked)

    # The router lives as long as ASGI's lifespan, in a task of the application's nursery.

    async def _start(self) -> None:
        await self.nursery.start(self._live)

    async def _stop(self) -> None:
        self._leaving.set()
        await self._has_left.wait()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with self.router.running(), trio.open_nursery() as beside:
                beside.start_soon(self.reloader.run)
                task_status.started()
                await self._leaving.wait()
                beside.cancel_scope.cancel()
        finally:
            self._has_left.set()


async def _metrics() -> Response:
    asked = this_request()
    return response_of(await cast("RouterApp", asked.app).metrics(asked))


async def _router_error(error: RouterError) -> Response:
    return error_response(error)


async def _http_error(error: HTTPException) -> Response:
    """What Quart itself refuses: an unknown path, a wrong method."""
    # Quart's request holds the error, whose frames hold the request: a cycle for the collector.
    error.__traceback__ = error.__cause__ = error.__context__ = None
    asked = this_request()
    allowed = set(getattr(error, "valid_methods", None) or ())
    hot = cast("RouterApp", asked.app).hot
    allowed |= {method for method, path in hot if path == asked.link.path}
    allowed |= file_methods(asked.link.path)
    refusal = f"{asked.link.method} {asked.link.path}"[:200]
    if allowed:
        response = error_response(MethodNotAllowed(f"{refusal}: the method is not allowed here"))
        response.headers["allow"] = ", ".join(sorted(allowed))
        return response
    if error.code == 404:
        return error_response(NotFound(f"{refusal}: there is nothing here"))
    return await _internal_error(error)


async def _internal_error(error: Exception) -> Response:
    return error_response(internal_error(error, this_request().record.request_id))
