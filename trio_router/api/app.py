"""The ASGI application: our connection class, our endpoints, Quart's defaults undone."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, cast

import trio
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

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
from trio_router.config.schema import ModelConfig, ProviderConfig
from trio_router.dashboard.feed import Board
from trio_router.dashboard.pages import Dashboard
from trio_router.demo import DemoUpstream
from trio_router.demo.local_model import LocalModel
from trio_router.dialects import CLIENTS
from trio_router.errors import MethodNotAllowed, NotFound, RouterError
from trio_router.observe.tracing import tracing_from
from trio_router.policy.keys import Authenticator
from trio_router.policy.origins import Origins
from trio_router.server.request_body import RequestBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response

    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.dashboard.peers import Peers
    from trio_router.runtime.router import Router


logger = logging.getLogger("trio_router")
_LAST_SPANS = 0.5  # s that the last spans may take to be sent


class RouterApp(QuartTrio):
    """The application of one router; `peers` are the other workers that share its address."""

    asgi_http_class = RelayConnection  # type: ignore[mutable-override]

    def __init__(self, router: Router, peers: Peers | None = None) -> None:
        super().__init__("trio_router", static_folder=None)
        self.router = router
        self.authenticator = Authenticator(router.config.auth)
        server = router.config.server
        self.origins = Origins(server.cors, has_keys=bool(router.config.auth.keys))
        self.config.update(
            RESPONSE_TIMEOUT=None,  # 60 s would cut long streams without a word
            BODY_TIMEOUT=None,
            MAX_CONTENT_LENGTH=None,  # our own limit gives a clear error
            PROPAGATE_EXCEPTIONS=False,
        )
        self.board = Board(router, peers)
        self._background = trio.CancelScope()
        self._background_ended = trio.Event()
        self.url_map.merge_slashes = False
        dashboard = Dashboard(self.board, router.config.auth)
        self.metrics = metrics if server.metrics.auth == "none" else dashboard.guarded(metrics)
        self.hot: dict[tuple[str, str], Callable[[ClientRequest], Awaitable[Reply]]] = {
            ("POST", CHAT_COMPLETIONS): chat_completions,
            **{("POST", path): client_call for path in CLIENTS},
            **SIDES,
            **PASSING_THROUGH,
            **dashboard.endpoints(),
        }
        register(self)
        if server.metrics.port is None:
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
        server = self.router.config.server
        if path in UPLOADS:
            return RequestBody(server.max_upload, declared, is_streamed=True)
        return RequestBody(server.max_body, declared)

    async def _start(self) -> None:
        self.router.tracing = tracing_from(os.environ, self.router.metrics.labels)
        await self.nursery.start(self._run_background)
        self.router.is_ready = True

    async def _stop(self) -> None:
        self.router.is_draining = True
        self._background.cancel()
        await self._background_ended.wait()
        await self.router.aclose()
        if self.router.tracing is not None:
            with trio.move_on_after(_LAST_SPANS):
                await trio.to_thread.run_sync(self.router.tracing.close, abandon_on_cancel=True)

    async def _run_background(self, task_status: trio.TaskStatus[None]) -> None:
        """Runs what all requests share, for as long as the application."""
        try:
            with self._background:
                async with trio.open_nursery() as nursery:
                    self.router.nursery = nursery
                    nursery.start_soon(self.router.alarms.run)
                    await nursery.start(self.router.catalog.run)
                    nursery.start_soon(self.router.observe)
                    nursery.start_soon(self.board.answer_peers)
                    if self.router.config.server.demo:
                        await self._start_demo(nursery)
                    task_status.started()
        finally:
            self.router.nursery = None
            self._background_ended.set()

    async def _start_demo(self, nursery: trio.Nursery) -> None:
        model = LocalModel(log=logger.info)
        # Nothing remembered: prompts must not stay in memory.
        demo = DemoUpstream(smollm2=model, log=logger.info, remember=0)
        port = await nursery.start(demo.serve)
        self.router.with_provider("demo", demo_provider(port, has_model=model.available()))


def demo_provider(port: int, *, has_model: bool) -> ProviderConfig:
    """The provider that the embedded upstream on `port` is."""
    names = ["echo", "echo-ndjson", *(["smollm2"] if has_model else [])]
    return ProviderConfig(
        base_url=f"http://127.0.0.1:{port}/v1",
        models={name: ModelConfig() for name in names},
        pass_through=True,  # echo-d50-x5 and the like
    )


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
