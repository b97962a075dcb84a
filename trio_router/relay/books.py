"""Bookkeeping of one request: its outcome, its attempts, and what its record says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_router.errors import InternalError, RouterError, UpstreamError
from trio_router.observe.record import Outcome

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from trio_router.observe.record import RequestRecord
    from trio_router.relay.engine import Engine, Upstreams
    from trio_router.routing.fleet import TargetState
    from trio_router.routing.route import Route
    from trio_router.routing.target import Target


class Books:
    """Keeps the record of one request.

    The first outcome stays: later faults only follow from it and do not overwrite it.
    """

    def __init__(self, record: RequestRecord, engine: Engine, upstreams: Upstreams) -> None:
        self.record = record
        self._engine = engine
        self._fleet = upstreams.fleet
        self._attempts: list[RequestRecord] = []  # a route's attempts that are running
        # The state of a plain request's target, if the target also stands in a route.
        self._state: TargetState | None = None
        self._open_streams: Gauge | None = None

    # -- what is asked

    def asks_route(self, route: Route) -> None:
        """Notes the route that the client asked for.  A plain model with several keys is none."""
        if route.is_own:
            self.record.route = self.record.model = route.name

    def asks_target(self, target: Target) -> None:
        """Notes the target that is asked, as the one that the request is counted for."""
        self.record.provider = target.provider
        self.record.model = target.model
        self.record.base_url = target.base_url
        self.record.is_listed = target.is_listed

    def plain_attempt(self, target: Target) -> None:
        """Counts the only attempt of a request that names its target."""
        self.record.attempts += 1
        self._state = self._fleet.find(target.name)

    def stream_began(self) -> None:
        """Counts an open stream, until `close`."""
        metrics = self._engine.metrics
        self._open_streams = metrics.of(metrics.labels(self.record)).streams_open
        self._open_streams.inc()

    # -- the attempts of a route

    def begin(self, target: Target, attempt: RequestRecord) -> None:
        """An attempt of the route at `target` begins; `attempt` is its own record."""
        self._attempts.append(attempt)
        self.record.running = attempt
        self.record.attempts += 1
        if self.record.first_event_at is None:
            self.asks_target(target)

    def answered_by(self, target: Target, now: float) -> None:
        """`target` answers the client: the request is counted for it."""
        self.asks_target(target)
        if self.record.first_event_at is None:
            self.record.first_event_at = now

    def end(self, attempt: RequestRecord) -> None:
        """An attempt of the route has ended: adds its counts to the request's."""
        self._attempts.remove(attempt)
        if self.record.running is attempt:
            self.record.running = self._attempts[-1] if self._attempts else None
        self.record.add(attempt)

    # -- how it ends

    def client_left(self) -> None:
        """The client left now; this is the outcome if there is none yet."""
        now = trio.current_time()
        for record in (self.record, *self._attempts):
            record.left_at = now
        self.end_as(Outcome.CLIENT_GONE)

    def failed(self, error: RouterError) -> None:
        """The client is told `error`, which decides the outcome if there is none yet."""
        self.record.error_code = error.code or None
        if self._state is not None:
            self._state.failed(error, trio.current_time(), self.record.started_at)
            self._state = None
            self._show_state()
        if isinstance(error, UpstreamError):
            self.end_as(Outcome(error.outcome))
        elif isinstance(error, InternalError):
            self.end_as(Outcome.INTERNAL_ERROR)
        else:
            self.end_as(Outcome.REJECTED)

    def end_as(self, outcome: Outcome) -> None:
        """Notes the outcome, if there is none yet."""
        if self.record.outcome is None:
            self.record.outcome = outcome

    def close(self) -> None:
        """The client's side has ended.  If there is no outcome yet, the status decides it."""
        record = self.record
        record.ended_at = trio.current_time()
        is_good = 0 < record.status < 400
        self.end_as(Outcome.COMPLETED if is_good else Outcome.REJECTED)
        if self._open_streams is not None:
            self._open_streams.dec()
        if self._state is not None and record.outcome is Outcome.COMPLETED:
            self._state.succeeded(record.ended_at, record.started_at)
            self._show_state()

    def _show_state(self) -> None:
        self._engine.show_state(self._fleet, self.record.provider, self.record.model)
