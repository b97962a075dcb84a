"""What routes owe their providers: no more hedges than their share, and rest for who is down."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.told import Told
    from trio_router.simulation.world import World

_DOWN = ("close", "reset", "garbage")  # and a status of these:
_STATUSES = (500, 502, 503, 529)
_FAILURES = 3  # in a row, before a cooldown that the configuration does not set
_BASE = 10  # s of it
_WINDOW = 25.0  # s in which failures count together; the router's own is longer
_SLACK = 1.0  # s until what was found is known, and before the cooldown's end


def hedges_are_within_their_share(world: World) -> Iterator[str]:
    """A route hedges at most its share of the streams, and one more."""
    if len(world.machines) > 1 or world.plan.configs:
        return
    for name, route in world.plan.config["routes"].items():
        if "hedge" not in route:
            continue
        lines = [x for x in world.log if x.event == "request" and x.fields.get("route") == name]
        hedged = sum(1 for line in lines if line.fields.get("hedged"))
        most = 1 + route["hedge"]["share"] * sum(1 for line in lines if line.fields["stream"])
        if hedged > most + 1e-6:
            yield f"{name}: {hedged} hedges, {most:.1f} at most"


def who_is_down_is_left_alone(world: World) -> Iterator[str]:
    """After failures in a row a target of a route is in cooldown: the route does not ask it."""
    config = world.plan.config
    if len(world.machines) > 1 or world.plan.configs:
        return
    for name, outlet in world.outlets.items():
        routes = [r for r in config["routes"].values() if _has(r, name)]
        if len(routes) != 1 or "hedge" in routes[0] or not _is_asked_at_once(world, name):
            continue
        for begin, end in _cooldowns(sorted(outlet.told, key=_ended), routes[0].get("cooldown", {})):
            for told in outlet.told:
                ask = outlet.asks.get(told.ask)
                is_routed = ask is not None and ask.model in config["routes"]
                if is_routed and begin < told.at < end:
                    yield f"{name} is asked (r{told.ask}) {end - told.at:.3f} s too early"


def _is_asked_at_once(world: World, name: str) -> bool:
    """Whether what is on its way to a provider comes there within a second."""
    if {"api_keys", "max_in_flight"} & world.plan.config["providers"][name].keys():
        return False
    provider = next(p for p in world.plan.providers if p.name == name)
    ways = [there for there, _ in provider.courses]
    is_quick = all(not w.rate and w.room >= 4096 and w.latency + w.jitter < 0.3 for w in ways)
    return is_quick and all(w.hole < 0 for w in ways) and all(c.after < 0.3 for c in provider.connects)


def _has(route: dict[str, Any], name: str) -> bool:
    return any(target["model"] == f"{name}/m" for target in route["targets"])


def _ended(told: Told) -> float:
    return told.ended_at


def _cooldowns(answers: list[Told], cooldown: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """When its first cooldown surely is: nothing but clear failures came before it."""
    down: list[float] = []
    for told in answers:
        if not _is_down(told):
            return
        down = [at for at in down if at > told.ended_at - _WINDOW] + [told.ended_at]
        if len(down) >= cooldown.get("failures", _FAILURES):
            base = cooldown.get("base", _BASE)
            yield told.ended_at + _SLACK, told.ended_at + base - _SLACK
            return


def _is_down(told: Told) -> bool:
    if told.fault is None or told.ended_at == inf or told.left_at < told.ended_at:
        return False
    return told.fault.kind in _DOWN or (told.fault.kind == "status" and told.status in _STATUSES)


ROUTES_OF_WORLD = (hedges_are_within_their_share, who_is_down_is_left_alone)
