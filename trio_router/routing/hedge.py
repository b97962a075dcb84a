"""When a second target is raced, and how often that may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_router.config.routes import HedgeConfig
    from trio_router.routing.latency import Latency

_SAVED = 10.0  # hedges that quiet times may save up


class HedgeBudget:
    """At most a share of the requests is hedged; one is free, so that the first can be."""

    def __init__(self) -> None:
        self._tokens = 1.0

    def deposit(self, share: float) -> None:
        """A request comes."""
        self._tokens = min(_SAVED, self._tokens + share)

    def take(self) -> bool:
        """Whether a hedge is allowed; then it is taken."""
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


def hedge_after(config: HedgeConfig | None, latency: Latency) -> float | None:
    """Seconds without an event after which a second target is raced; None: never."""
    if config is None:
        return None
    return latency.quantile(0.95) if config.after == "p95" else float(config.after)
