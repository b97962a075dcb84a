"""Observes the running router: history, gauges, the event loop's lag, spans."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from trio_router.observe.history import SLOT, History
from trio_router.observe.lag import watch_lag
from trio_router.observe.log import log_request
from trio_router.observe.record import TargetReport
from trio_router.observe.tracing import passed_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.observe.record import RequestRecord
    from trio_router.observe.tracing import Tracing
    from trio_router.relay.engine import Engine
    from trio_router.runtime.generation import Generation

logger = logging.getLogger("trio_router")


class Observation:
    """Samples the running requests of `engine`, and takes in each that has ended."""

    def __init__(self, engine: Engine) -> None:
        self.history = History(engine.metrics.labels)
        self.tracing: Tracing | None = None  # set while the router runs
        self._engine = engine
        self._metrics = engine.metrics
        self._wall = engine.clock.wall
        engine.consumers += [self._metrics.ended, self._remember, log_request, self._end_span]

    def trace(self, record: RequestRecord, fields: Mapping[bytes, bytes]) -> None:
        """Notes the trace context in the client's header `fields`, and passes it to the upstream."""
        parent = fields.get(b"traceparent", b"")
        if self.tracing is not None:
            record.trace_headers = self.tracing.begin(record, parent, fields.get(b"tracestate", b""))
        elif parent:
            record.trace_headers = passed_on(parent, fields.get(b"tracestate", b""))

    async def sample(self, generation: Generation) -> None:
        """Samples everything that runs, for the history and the gauges."""
        self._metrics.sample(target_reports(generation))
        records = [request.record for request in self._engine.running]
        for _ in self.history.sample(records, self._wall()):
            await trio.lowlevel.checkpoint()

    async def watch_lag(self) -> None:
        """Watches the event loop, until cancelled."""
        await watch_lag(self._note_lag)

    async def wait_for_slot(self) -> None:
        """Returns at the beginning of the history's next slot."""
        await trio.sleep(SLOT - self._wall() % SLOT)

    def _remember(self, record: RequestRecord) -> None:
        self.history.ended(record, self._wall())

    def _end_span(self, record: RequestRecord) -> None:
        if record.span is not None and self.tracing is not None:
            self.tracing.ended(record, record.base_url)

    def _note_lag(self, seconds: float) -> None:
        self._metrics.loop_lag.observe(seconds)
        self.history.lagged(seconds, self._wall())


def target_reports(generation: Generation) -> list[TargetReport]:
    """The targets of routes that are not healthy; of those that one pattern has made, the worst."""
    now = trio.current_time()
    fleet = generation.upstreams.fleet
    targets = {t.name: t.labels for route in generation.table.standing() for t in route.targets}
    found = [(targets[name], state) for name, state in fleet.targets.items() if name in targets]
    worst: dict[tuple[str, str], TargetReport] = {}
    for labels, state in [*found, *((made.labels, state) for made, state in fleet.made())]:
        if (told := state.health(now)) is not None:
            report = TargetReport(*labels, *told, state.last_error)
            worst[labels] = max(worst.get(labels, report), report, key=_until)
    return list(worst.values())


def _until(report: TargetReport) -> float:
    return report.until or 0.0
