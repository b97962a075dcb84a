"""What routes owe their providers: no more hedges than their share, and rest for who is down."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.told import Told
    from trio_router.simulation.world import World

_DOWN = ("close", "reset", "garbage")  # and a status of these:
_STATUSES = (500, 502, 503, 529)
_FAILURES = 3  # in a row, before a cooldown that the configuration does not set
_BASE = 10  # s of it
_WINDOW = 25.0  # s in which failures count together; the router's own is longer
_REFUSED = 30.0  # s that a refused key rests at least
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
        answers = sorted((told for told in outlet.told if told.ask >= 0), key=_ended)
        for begin, end in _cooldowns(answers, routes[0].get("cooldown", {})):
            for told in outlet.told:
                ask = outlet.asks.get(told.ask)
                is_routed = ask is not None and ask.model in config["routes"]
                if is_routed and begin < told.at < end:
                    yield f"{name} is asked (r{told.ask}) {end - told.at:.3f} s too early"


def _is_asked_at_once(world: World, name: str) -> bool:
    """Whether what is on its way to a provider comes there within a second."""
    if {"api_keys", "max_in_flight"} & world.plan.config["providers"][name].keys():
        return False
    return _is_near(world, name)


def _is_near(world: World, name: str) -> bool:
    provider = next(p for p in world.plan.providers if p.name == name)
    ways = [there for there, _ in provider.courses]
    is_quick = all(not w.rate and w.room >= 4096 and w.latency + w.jitter < 0.3 for w in ways)
    return is_quick and all(w.hole < 0 for w in ways) and all(c.after < 0.3 for c in provider.connects)


def _has(route: dict[str, Any], name: str) -> bool:
    return any(target["model"] == f"{name}/m" for target in route["targets"])


def _ended(told: Told) -> float:
    return told.ended_at


def _cooldowns(answers: list[Told], cooldown: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """When its first cooldown surely is: nothing but clear failures came before it.

    An answer that comes whole meanwhile, to a request from before it, ends it.
    """
    down: list[float] = []
    for place, told in enumerate(answers):
        if not _is_down(told):
            return
        down = [at for at in down if at > told.ended_at - _WINDOW] + [told.ended_at]
        if len(down) >= cooldown.get("failures", _FAILURES):
            base = cooldown.get("base", _BASE)
            good = [later.ended_at for later in answers[place:] if later.status == 200]
            yield told.ended_at + _SLACK, min([told.ended_at + base - _SLACK, *good])
            return


def _is_down(told: Told) -> bool:
    if told.fault is None or told.ended_at == inf or told.left_at < told.ended_at:
        return False
    return told.fault.kind in _DOWN or (told.fault.kind == "status" and told.status in _STATUSES)


def good_end_blames_nobody(case: Case) -> Iterator[str]:
    """The attempt that gave a good answer is a good one in the books."""
    line = case.line
    if line is None or line.fields["outcome"] != "completed" or not case.told:
        return
    outcomes = [one["outcome"] for one in line.fields["attempts"]]
    if "completed" not in outcomes:
        yield f"it was completed, its attempts were {outcomes}"


def passing_fault_is_tried_again(case: Case) -> Iterator[str]:
    """After a fault that may pass a route asks the same target again, as often as `retry` says."""
    route = case.route
    if route is None or "hedge" in route or case.is_stopped or case.got.end != "whole" or not case.told:
        return
    retry, cooldown = route.get("retry", {}), route.get("cooldown", {})
    told = min(case.told, key=_begun)
    fault, name = told.fault, told.provider
    if (
        fault is None
        or told.status not in _STATUSES
        or fault.retry_after
        or not retry.get("attempts", 2)
    ):
        return
    if (
        case.world.plan.configs
        or len(case.world.machines) > 1
        or not _is_asked_at_once(case.world, name)
    ):
        return
    last = told.ended_at + retry.get("base", 0.5) + _SLACK
    others = [
        other for other in case.world.outlets[name].told if other.at <= last and other is not told
    ]
    is_counted = len(others) + 1 >= cooldown.get("failures", _FAILURES)  # a cooldown may have begun
    is_lost = any(at <= last for at, who, _ in case.world.connects if who == name)
    if is_counted or is_lost or fault.kind != "status" or told.left_at < inf:
        return
    if sum(1 for other in case.told if other.provider == name) < 2:
        yield f"{name} answered {told.status} and was not asked again"


def _begun(told: Told) -> float:
    return told.at


def refused_key_rests(world: World) -> Iterator[str]:
    """A key that a provider has refused is not used again for a while, if there is another."""
    if len(world.machines) > 1 or world.plan.configs:
        return
    for name, outlet in world.outlets.items():
        keys = world.plan.config["providers"][name]
        if not keys.get("api_keys") or not _is_near(world, name):
            continue
        answers = sorted((told for told in outlet.told if told.ask >= 0), key=_begun)
        if not any(told.status in (402, 403, 429) for told in answers):  # keys may rest for these too
            yield from (f"{name} is asked {detail}" for detail in _refused_again(answers))


def _refused_again(answers: list[Told]) -> Iterator[str]:
    refused: dict[str, float] = {}
    for told in answers:
        key = told.asked.key
        since = refused.get(key, inf)
        is_early = since + _SLACK < told.at < since + _REFUSED - _SLACK
        # A good answer to a request from before makes the key a good one.
        is_good = any(
            t.asked.key == key and t.status == 200 and t.at <= since < t.ended_at for t in answers
        )
        if len(refused) == 1 and is_early and not is_good:
            yield f"(r{told.ask}) with a key that it refused {told.at - since:.3f} s ago"
        if told.status == 401:
            refused[key] = told.ended_at


ROUTES = (good_end_blames_nobody, passing_fault_is_tried_again)
ROUTES_OF_WORLD = (hedges_are_within_their_share, who_is_down_is_left_alone, refused_key_rests)
