"""Series are made in an order that does not depend on the hashes of strings."""

from __future__ import annotations

from types import SimpleNamespace

from trio_router.observe.metrics import Metrics


async def test_targets_in_cooldown_are_written_in_the_order_of_their_names():
    metrics = Metrics()
    states = [SimpleNamespace(provider="p", model=f"m{n}", until=1.0) for n in (5, 3, 8, 1, 9, 2, 7, 4)]
    metrics.sample(states)
    lines = [line for line in metrics.text().splitlines() if b"cooling_down{" in line]
    assert len(lines) == 8
    assert lines == sorted(lines)
