"""Hedging: after how long a second target is asked, and how often that may happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_router.config.routes import HedgeConfig
    from trio_router.routing.latency import Latency

_SAVED = 10.0  # hedges that may be saved up while there are few requests


class HedgeBudget:
    """Lets at most a share of the requests be hedged.  It starts with one hedge."""

    def __init__(self) -> None:
        self._tokens = 1.0

    def deposit(self, share: float) -> None:
        """Counts one request."""
        self._tokens = min(_SAVED, self._tokens + share)

    def take(self) -> bool:
        """Returns whether a hedge is allowed, and counts it if so."""
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


def hedge_after(config: HedgeConfig | None, latency: Latency) -> float | None:
    """Seconds without an event after which a second target is asked; None: never."""
    if config is None:
        return None
    return latency.quantile(0.95) if config.after == "p95" else float(config.after)
