"""The few things that an exchange may touch, in place of the whole router.

`Engine` lives as long as the process serves; `Upstreams` is the part of one configuration that
exchanges use.  An exchange keeps the `Upstreams` it began with: a configuration that is swapped while
it runs changes nothing for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import trio

from trio_router.clock.alarms import AlarmClock
from trio_router.clock.clock import SYSTEM
from trio_router.money import NO_PRICES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_router.clock.clock import Clock
    from trio_router.config.schema import StreamConfig
    from trio_router.errors import RouterError
    from trio_router.money import PriceBook
    from trio_router.observe.metrics import Metrics
    from trio_router.observe.record import Outcome, RequestRecord
    from trio_router.relay.client import UpstreamClient
    from trio_router.relay.gate import Gate
    from trio_router.routing.fleet import Fleet

    Consumer = Callable[[RequestRecord], None]

logger = logging.getLogger("trio_router")


class Running(Protocol):
    """A request under way, as seen by whoever may end it."""

    record: RequestRecord

    def abort(self, error: RouterError, outcome: Outcome) -> None:
        """Ends the request with `error`, and releases its upstream."""


class Upstreams:
    """The clients, target states, stream limits and prices that the exchanges of one configuration use.

    `on_unused` is called whenever the last exchange that uses it has ended.
    """

    def __init__(
        self,
        clients: Mapping[str, UpstreamClient],
        fleet: Fleet,
        stream: StreamConfig,
        prices: PriceBook = NO_PRICES,
    ) -> None:
        self.clients = clients
        self.fleet = fleet
        self.stream = stream
        self.prices = prices
        self.users = 0
        self.uncounted: set[str] = set()  # providers that turned out to have no endpoint that counts
        self.on_unused: Callable[[], None] | None = None

    def enter(self) -> None:
        """Counts one more user, who calls `leave` exactly once."""
        self.users += 1

    def leave(self) -> None:
        """One user less.  The last one calls `on_unused`."""
        self.users -= 1
        if not self.users and self.on_unused is not None:
            self.on_unused()


class Engine:
    """What all exchanges of one process share.  `gate` limits the requests to models at one time.

    Each of `consumers` is called once for each request that has ended: metrics, history, log, trace.
    """

    def __init__(self, metrics: Metrics, clock: Clock = SYSTEM) -> None:
        self.metrics = metrics
        self.clock = clock
        self.alarms = AlarmClock()
        self.gate: Gate | None = None
        self.consumers: list[Consumer] = []
        self.running: set[Running] = set()
        # Runs upstreams that may outlive their client; None while the router does not run.
        self.nursery: trio.Nursery | None = None
        self.drains = 0  # upstreams that outlive their client now
        self._requests = 0
        self._idle: trio.Event | None = None  # there while somebody waits for it

    def next_number(self) -> int:
        """The next request's number, unique in this process.  (Request ids may repeat.)"""
        self._requests += 1
        return self._requests

    def began(self, request: Running) -> None:
        """`request` is under way; it is passed to `booked` when it has ended."""
        self.running.add(request)
        self.metrics.requests_open.inc()

    def withdrew(self, request: Running) -> None:
        """`request` does not count after all."""
        self.running.discard(request)
        self.metrics.requests_open.dec()
        self._note_idle()

    def booked(self, request: Running) -> None:
        """`request` has ended.  Passes its record to every consumer, even if one of them raises."""
        self.running.discard(request)
        for consume in self.consumers:
            try:
                consume(request.record)
            except Exception:
                logger.exception("a request could not be booked")
        self._note_idle()

    def _note_idle(self) -> None:
        if not self.running and self._idle is not None:
            self._idle.set()
            self._idle = None

    async def wait_idle(self) -> None:
        """Returns when no request is under way."""
        while self.running:
            if self._idle is None:
                self._idle = trio.Event()  # one for all who wait
            await self._idle.wait()

    def show_state(self, fleet: Fleet, provider: str, model: str) -> None:
        """Sets the metric of a target's state, if it stands in a route; any process may render it."""
        state = fleet.targets.get(f"{provider}/{model}")
        if state is not None:
            now = trio.current_time()
            self.metrics.target_state.labels(provider, model).set(state.state(now))
