"""Puts the application together: the APIs, the metrics, the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.app import RouterApp
from trio_router.api.metrics_side import metrics
from trio_router.dashboard.feed import Board
from trio_router.dashboard.pages import ENDLESS, Dashboard

if TYPE_CHECKING:
    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.dashboard.peers import Peers
    from trio_router.runtime.router import Router


def application(router: Router, peers: Peers | None = None) -> RouterApp:
    """The application of `router`; `peers` are the other workers that share its address."""
    board = Board(router, peers)
    dashboard = Dashboard(board)
    guarded = dashboard.guarded(metrics)

    async def as_configured(asked: ClientRequest) -> Reply:
        is_open = asked.generation.config.server.metrics.auth == "none"
        return await (metrics if is_open else guarded)(asked)

    return RouterApp(
        router,
        as_configured,
        dashboard.endpoints(),
        endless=ENDLESS,
        beside=(board.answer_peers,),
    )
