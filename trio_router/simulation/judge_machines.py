"""What a router owes those that it is connected to: who is let go, who is waited for, what is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.simulation.expected import limits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.world import World

_AT_ONCE = 0.01  # s
_LARGE = 1000  # bytes a read: no client takes a little, stops, and takes a little
_SOON = 1.1  # s: a client gets one second to read its last answer


def deaf_client_is_let_go(case: Case) -> Iterator[str]:
    """A client that takes nothing for `stall` seconds is let go."""
    if case.got.over is None or case.world.plan.configs:
        return
    waited, stall = case.got.over.inn.longest_block, limits_of(case)["stall"]
    if waited > stall + _AT_ONCE:
        yield f"the router waited {waited:.3f} s for it, {stall} s at most"


def slow_client_is_served(case: Case) -> Iterator[str]:
    """Only a client that took nothing for `stall` seconds is given up as stalled."""
    got, line = case.got, case.line
    if line is None or got.over is None or case.world.plan.configs:
        return
    stall = _stall(case)
    if line.fields["outcome"] == "client_stalled" and got.over.inn.longest_block < stall - _AT_ONCE:
        yield f"the router waited {got.over.inn.longest_block:.3f} s for it, not {stall} s"


def no_upstream_waits_for_a_deaf_client(case: Case) -> Iterator[str]:
    """An upstream waits no longer than `stall` seconds for a client that takes nothing."""
    line, ask, back = case.line, case.ask, case.caller.back
    if line is None or not ask.stall or ask.read_gap or len(case.told) != 1:
        return
    if back.rate or back.latency or back.jitter:
        return  # it may have waited before too
    waited, stall = line.fields["backpressure_ms"] / 1000, _stall(case)
    if ask.read_most >= _LARGE and not case.world.plan.configs and waited > stall + _SOON:
        yield f"its upstream waited {waited:.3f} s, {stall} s at most"


def _stall(case: Case) -> float:
    """The limit of the router, or the shorter one of a provider that was asked."""
    providers = case.config["providers"]
    own = [providers[told.provider].get("timeouts", {}).get("stall") for told in case.told]
    shortest: float = min(limit for limit in (limits_of(case)["stall"], *own) if limit is not None)
    return shortest


def ending_router_takes_no_work(case: Case) -> Iterator[str]:
    """A request whose turn comes after SIGTERM is refused and reaches no provider."""
    machine, line = case.machine, case.line
    if machine is None or line is None or machine.stopped_at is None:
        return
    began = line.at - line.fields["duration_ms"] / 1000
    if case.told and began > machine.stopped_at + _AT_ONCE:
        yield f"it was begun {began - machine.stopped_at:.3f} s after the end, and reached a provider"


def idle_router_leaves_at_once(world: World) -> Iterator[str]:
    """After SIGTERM a router leaves as soon as its last request has ended: idle clients are let go."""
    for machine in world.machines:
        if machine.stopped_at is None or machine.is_dead or machine.ended_at is None:
            continue
        ends = [
            line.at
            for line in world.log
            if line.machine == machine.name and line.at <= machine.ended_at
        ]
        last = max([machine.stopped_at, *ends])
        if machine.ended_at - last > _SOON:
            yield f"{machine.name}: {machine.ended_at - last:.3f} s after its last request"


def dead_connection_is_not_used(world: World) -> Iterator[str]:
    """A kept connection whose provider has closed it, or said more, gets no further request."""
    for end, seconds in world.network.dead_ends:
        yield f"{end.name} was asked on {seconds:.3f} s after it had ended or had said more"


MACHINES = (
    deaf_client_is_let_go,
    slow_client_is_served,
    no_upstream_waits_for_a_deaf_client,
    ending_router_takes_no_work,
)
MACHINES_OF_WORLD = (idle_router_leaves_at_once, dead_connection_is_not_used)
