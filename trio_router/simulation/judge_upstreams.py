"""What providers saw: each function finds where one promise was broken, and says how."""

from __future__ import annotations

from itertools import product
from math import inf
from typing import TYPE_CHECKING

import msgspec

from trio_router.simulation.asking import BAD_KEY, GOOD_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.pipes import End
    from trio_router.simulation.told import Told
    from trio_router.simulation.world import World

_AT_ONCE = 0.001  # s
_EXPIRY = 30.0 + 6.0  # s that a connection is kept without a request, and the network's own
_LINGER = 0.25  # s that an answer which has said all may take to end


def upstream_is_released(case: Case) -> Iterator[str]:
    """When a client has left, its upstreams are closed within a virtual millisecond of its word."""
    got = case.got
    if not got.has_left or case.line is None or _drains(case):
        return
    ended_at = case.line.at
    for told in case.told:
        if told.end is None or told.is_whole or _goes_on_beyond(told):
            continue
        closed_at = told.end.peer.closed_at
        if closed_at > ended_at + _AT_ONCE and told.ended_at > ended_at + _AT_ONCE:
            yield f"{told.provider} was closed {closed_at - ended_at:.4f} s after the request's end"


def _goes_on_beyond(told: Told) -> bool:
    """What it goes on sending lies beyond its answer, whose length it told: it may be kept."""
    return told.fault is not None and told.take.style.framing == "length"


def leaving_is_seen(case: Case) -> Iterator[str]:
    """A client's leaving ends its request as soon as the network has told of it, or a drain is over."""
    got = case.got
    caller = case.caller
    if not got.has_left or case.line is None or caller.there.hole >= 0:
        return
    course = caller.there
    travel = course.latency + course.jitter
    if course.rate:
        travel += max(course.room, 70_000) / course.rate  # what was sent before it
    late = case.line.at - got.left_at - travel
    if _drains(case) and case.route is not None:
        late -= case.route["on_disconnect"]["drain"]["seconds"]
    if late > _AT_ONCE:
        yield f"its request ended {late:.4f} s after the word of its leaving came"


def _drains(case: Case) -> bool:
    return case.route is not None and "on_disconnect" in case.route


def no_upstream_outlives_its_request(case: Case) -> Iterator[str]:
    """No upstream is read on when its request has ended."""
    if case.line is None:
        return
    for told in case.told:
        if told.end is None or told.is_whole or told.ended_at <= case.line.at + _AT_ONCE:
            continue
        if _goes_on_beyond(told):
            continue
        closed_at = told.end.peer.closed_at
        if closed_at > case.line.at + _LINGER + _AT_ONCE:
            yield f"{told.provider} {closed_at - case.line.at:.4f} s longer"


def provider_is_asked_what_was_asked(case: Case) -> Iterator[str]:
    """Providers get the client's own words, their own model's name and their own key alone."""
    ask = case.ask
    for told in case.told:
        body = told.asked.body
        text = msgspec.json.encode(f"sim-{ask.id}- {ask.prompt}")
        if case.is_call and text[1:-1] not in body:
            yield f"{told.provider} was asked something else: {body[:120]!r}"
        keys = case.config["providers"][told.provider]
        if told.asked.key not in (keys["api_key"], *keys.get("api_keys", ())):
            yield f"{told.provider} was given another key"
        if (
            ask.model.endswith("/m")
            and f"{told.provider}-model" not in body.decode("latin-1") + told.asked.path
        ):
            yield f"{told.provider} was not asked for its own model"
        secrets = (GOOD_KEY, BAD_KEY)
        heads = b" ".join(told.asked.headers.values()).decode("latin-1")
        if any(secret in heads for secret in secrets):
            yield f"{told.provider} was given the client's key"


def tries_are_bounded(case: Case) -> Iterator[str]:
    """A target is asked once and `retry.attempts` times more, once more for each other key."""
    route = case.route or {}
    attempts = route.get("retry", {}).get("attempts", 2) if case.route is not None else 0
    for name in {told.provider for told in case.told}:
        provider = case.config["providers"][name]
        keys = 1 + len(provider.get("api_keys", ()))
        count = sum(1 for told in case.told if told.provider == name)
        # What a kept connection lost before any byte of an answer is sent once more.
        lost = sum(1 for told in case.told if told.provider == name and _may_be_lost(told))
        most = attempts + keys + lost + (1 if route.get("midstream", "error") != "error" else 0)
        # Who gave way in a race has not failed: it may be asked again if the winner fails.
        most += _gave_way(case, name) if "hedge" in route else 0
        if count > most:
            yield f"{name} was asked {count} times, at most {most} are allowed"


def _gave_way(case: Case, name: str) -> int:
    tried = case.line.fields["attempts"] if case.line is not None else ()
    return sum(1 for one in tried if (one["target"], one["outcome"]) == (f"{name}/m", "gave_way"))


def _may_be_lost(told: Told) -> bool:
    """Whether none of its bytes may have come."""
    return not told.status or (told.fault is not None and told.fault.kind in ("broken", "fin"))


def connection_is_used_for_one_answer_at_a_time(case: Case) -> Iterator[str]:
    """A connection is used again only when its answer has come whole: never one whose answer broke."""
    for told in case.told:
        has_length = told.take.style.framing == "length" and told.fault is not None
        if told.is_overtaken and not has_length:  # more may follow what its length told
            yield f"{told.provider} was asked for more while it answered"


def patience_is_obeyed(world: World) -> Iterator[str]:
    """A provider that asks for patience (`Retry-After`) is left alone by routes for so long."""
    begun = {got.ask.id: got.begun_at for got in world.got}
    for name, machine in product(world.outlets, world.machines):
        outlet = world.outlets[name]
        if len(world.plan.config["providers"][name].get("api_keys", ())):
            continue
        until, known, asker = 0.0, inf, -1
        for told in sorted(outlet.told, key=_at):
            if told.machine != machine.name:
                continue
            ask = outlet.asks.get(told.ask)
            is_routed = ask is not None and ask.model in world.plan.config["routes"]
            is_late = begun.get(told.ask, 0.0) > known or told.ask == asker
            if is_routed and is_late and told.at < until - _AT_ONCE:
                yield f"{name} is asked (r{told.ask}) {until - told.at:.3f} s too early (r{asker})"
            if told.status == 200 and (told.is_whole or told.has_said_finish):
                until = 0.0  # a good answer ends it, one to a plain model too
            elif is_routed and told.fault is not None and told.status in (429, 503):
                patience = _seconds(told.fault.retry_after)
                if patience:
                    # Who had begun before that was known is excused.
                    known, asker = told.ended_at + 1.0, told.ask
                    until = told.ended_at + patience


def _at(told: Told) -> float:
    return told.at


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def bytes_held_are_bounded(world: World) -> Iterator[str]:
    """What a router has taken from an upstream and not given to a client that stalls is bounded."""
    for outlet in world.outlets.values():
        for told in outlet.told:
            if told.end is None or told.ask not in world.asks:
                continue
            ask = world.asks[told.ask]
            if ask.stall < 100 or not ask.is_stream or told.ask in world.plan.config["routes"]:
                continue
            buffer = world.plan.config["stream"]["buffer"]
            taken = told.end.out.taken
            if told.script is not None and told.fault is None:
                most = (buffer + 4) * 65536 + 400_000
                if taken > most and told.left_at < inf:
                    yield f"r{told.ask}: {taken} bytes were taken, {most} would do"


def idle_upstream_is_closed(world: World) -> Iterator[str]:
    """A connection that no request needs is closed after half a minute, whoever comes next."""
    ends: dict[int, tuple[End, float]] = {}
    over = {x.fields["request_id"]: x.at for x in world.log if x.event == "request"}
    for outlet in world.outlets.values():
        for told in outlet.told:
            if told.end is not None:
                _, before = ends.get(id(told.end), (told.end, 0.0))
                ends[id(told.end)] = (
                    told.end,
                    max(told.ended_at, before, over.get(f"r{told.ask}", 0.0)),
                )
    for end, used_at in ends.values():
        idle = end.peer.closed_at - used_at
        is_asked = end.inn.held > 0  # a request was lost on its way
        if inf > used_at and idle > _EXPIRY and not is_asked:
            yield f"{end.peer.name}: {idle:.3f} s"


UPSTREAMS = (
    upstream_is_released,
    leaving_is_seen,
    no_upstream_outlives_its_request,
    provider_is_asked_what_was_asked,
    tries_are_bounded,
    connection_is_used_for_one_answer_at_a_time,
)
UPSTREAMS_OF_WORLD = (patience_is_obeyed, bytes_held_are_bounded, idle_upstream_is_closed)
