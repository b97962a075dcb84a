"""What all connections of one server share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.clock.alarms import AlarmClock
    from trio_router.server.link import App

KEEP_ALIVE = 75.0  # s that a connection may be idle between two requests
WHOLE_HEAD = 30.0  # s that a request's head may take, and a new connection until its first byte


class Closable(Protocol):
    """What the server knows of a connection when it ends."""

    def close_if_idle(self) -> None:
        """Closes the connection if no request is being answered on it."""


class Service:
    """What the connections of one server share.

    `app` answers the requests; `alarms` ring for idle connections; `wall` gives Unix time.  `stall`
    is in seconds; None is no limit.
    """

    whole_head = WHOLE_HEAD

    def __init__(
        self, app: App, alarms: AlarmClock, wall: Callable[[], float], stall: float | None
    ) -> None:
        self.app = app
        self.alarms = alarms
        self.wall = wall
        self.stall = math.inf if stall is None else stall
        self.scheme = "http"
        self.keep_alive = KEEP_ALIVE
        self.is_ending = False
        self.connections: dict[Closable, None] = {}  # in the order in which they came
