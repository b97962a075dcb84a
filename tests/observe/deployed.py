"""The files that deployments observe the router with, and metrics that fill them."""

from __future__ import annotations

from pathlib import Path

from trio_router.observe.metrics import Metrics
from trio_router.observe.record import Outcome, RequestRecord

CONFIG = Path(__file__).parents[2] / "config"
PROMETHEUS = CONFIG / "prometheus"


def with_models(count: int) -> Metrics:
    metrics = Metrics()
    for number in range(count):
        record = RequestRecord("r", 0.0, provider="p", model=f"m{number}", is_listed=True)
        record.is_stream, record.first_event_at, record.ended_at = True, 0.1, 1.0
        record.outcome = Outcome.COMPLETED
        metrics.ended(record)
    return metrics
