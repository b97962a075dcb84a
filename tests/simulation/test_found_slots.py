"""What fresh seeds have found in the limits: each sentence was broken once, by the world below it."""

from __future__ import annotations

from tests.simulation.worlds import check, route, take, world
from trio_router.simulation.plan import Ask, Leave, Provider


def test_a_stream_whose_client_left_before_it_was_admitted_keeps_no_slot():
    # Seed 216: the client left as soon as it had asked, and its stream may outlive it.
    routes = route("p0", on_disconnect={"drain": {"seconds": 5, "max": 1}})
    for seed in range(5):
        asks = [Ask(n, "chat", "r", is_stream=True, takes={"p0": (take(n),)}) for n in range(2)]
        asks[1].is_pipelined, asks[1].leave = True, Leave("close", after=0.0)
        plan = world([Provider("p0", "openai")], asks[0], routes=routes, server={"max_streams": 1})
        plan.callers[0].asks, plan.seed = asks, seed
        check(plan)
