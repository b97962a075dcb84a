"""Puts the application together: the APIs, the metrics, the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_router.api.admin import ConfigEndpoints
from trio_router.api.admin_api import ADMIN, AdminApi
from trio_router.api.app import RouterApp
from trio_router.api.metrics_side import metrics
from trio_router.dashboard.feed import Board
from trio_router.dashboard.pages import ADMIN_BELOW, Dashboard
from trio_router.runtime.reload import Reloader

if TYPE_CHECKING:
    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.runtime.peers import Peers
    from trio_router.runtime.router import Router


def application(
    router: Router, peers: Peers | None = None, reloader: Reloader | None = None
) -> RouterApp:
    """The application of `router`; `peers` are the other workers that share its address.

    `reloader` reads the configuration's file again; by default there is no file.
    """
    reloader = Reloader(router) if reloader is None else reloader
    board = Board(router, peers, reloader)
    dashboard = Dashboard(board)
    guarded = dashboard.guarded(metrics)

    async def as_configured(asked: ClientRequest) -> Reply:
        is_open = asked.generation.config.server.metrics.auth == "none"
        return await (metrics if is_open else guarded)(asked)

    async def beside() -> None:
        async with trio.open_nursery() as nursery:
            if peers is not None:
                await nursery.start(peers.serve)
            nursery.start_soon(reloader.run)

    config = ConfigEndpoints(reloader, dashboard.known)
    admin = AdminApi(dashboard.known, ADMIN, ADMIN_BELOW)
    rows = {**dashboard.rows(), **config.rows(), **admin.rows}
    return RouterApp(router, as_configured, rows, admin.below, beside=(beside,))
