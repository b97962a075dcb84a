"""Connections to the app behind Hypercorn's own HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from tests.stack import ServerStream

if TYPE_CHECKING:
    import trio


async def connect(stack: Any) -> trio.abc.Stream:
    """A raw connection to the app of a stack in memory."""
    ours, theirs = stack._pair()
    server = TCPServer(
        ASGIWrapper(stack.app),
        HypercornConfig(),
        WorkerContext(None),
        ConnectionState({}),
        ServerStream(theirs),
    )
    stack._nursery.start_soon(server.run)
    return ours
