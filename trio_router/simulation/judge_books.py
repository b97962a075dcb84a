"""What the router wrote down, and what is left of a world: one function for each promise."""

from __future__ import annotations

import re
from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Any

from trio_router.simulation.asking import ADMIN_KEY, BAD_KEY, GOOD_KEY
from trio_router.simulation.expected import is_lenient, neighbour_left
from trio_router.simulation.stage import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.told import Told
    from trio_router.simulation.world import World

_COUNT = re.compile(r'^trio_router_requests_total\{.*outcome="(\w+)".*\} (\S+)$', re.MULTILINE)
_PROMPT = re.compile(r"sim-\d+-|ans-\d+-|thought-\d+-")


def request_is_booked_once(case: Case) -> Iterator[str]:
    """Each request that a router took has exactly one line in the log; health checks have none."""
    ask, count = case.ask, len(case.lines)
    if case.is_lost:
        return
    is_operational = ask.api in ("health", "ready", "metrics", "dashboard")
    if is_operational or ask.nonsense in ("garbage", "large_head"):
        wanted = 0
    elif case.status or case.told:
        wanted = 1
    else:
        wanted = min(count, 1)  # it is not known whether it was read
    if count != wanted:
        yield f"{count} lines"


def book_tells_the_truth(case: Case) -> Iterator[str]:
    """Status and outcome in the log are what the client saw."""
    line, got = case.line, case.got
    if line is None or not case.is_call:
        return
    outcome = line.fields["outcome"]
    if got.end == "whole":
        if line.fields["status"] != case.status:
            yield f"status {line.fields['status']} in the log, {case.status} at the client"
        is_good = case.said.is_good if case.said is not None else False
        if any(is_lenient(case, told) for told in case.told):
            return
        if is_good != (outcome == "completed") and outcome != "client_gone":
            yield f"{outcome} in the log, {'a good' if is_good else 'no good'} end at the client"
    if got.end == "left" and outcome == "client_stalled" and line.at > got.left_at + 1:
        yield "client_stalled, but it left"
    if outcome == "client_gone" and not _may_be_gone(case):
        yield f"client_gone, but its client was there ({got.end})"
    if outcome == "internal_error":
        yield "our own fault"


def _may_be_gone(case: Case) -> bool:
    """Its client left, or spoilt or lost the connection."""
    got = case.got
    return got.has_left or got.end != "whole" or neighbour_left(case)


def usage_is_the_providers(case: Case) -> Iterator[str]:
    """Tokens in the log, and those that the client is told, are those that the provider counted."""
    line, said = case.line, case.said
    speakers = [told for told in case.told if told.script is not None and told.fault is None]
    if line is None or said is None or not said.is_good or case.got.end != "whole":
        return
    if len(case.told) != 1 or len(speakers) != 1 or not speakers[0].is_whole:
        return
    told = speakers[0]
    answer = told.take.answer
    is_counting = told.take.style.usage != "none" or not told.is_stream or told.take.style.as_json
    if told.speech in ("openai", "completions") and not is_counting:
        return
    counted = (line.fields["prompt_tokens"], line.fields["completion_tokens"])
    wanted = (answer.prompt_tokens, answer.completion_tokens)
    if case.ask.api == "embeddings":
        counted, wanted = (counted[0], 0), (wanted[0], 0)
    if told.speech == "vectors" and told.provider and _dialect(case, told) in ("gemini",):
        return  # it counts nothing
    if counted != wanted:
        yield f"{counted} in the log, {wanted} by the provider"
    if line.fields["usage"] != "reported":
        yield f"usage is {line.fields['usage']}"
    shown = (said.prompt_tokens, said.completion_tokens)
    if case.ask.api != "embeddings" and None not in shown and shown != wanted:
        yield f"{shown} for the client, {wanted} by the provider"


def _dialect(case: Case, told: Told) -> str:
    return next(p.dialect for p in case.world.plan.providers if p.name == told.provider)


def counts_are_the_logs(world: World) -> Iterator[str]:
    """Requests are counted as they are logged: once each, by the same outcome."""
    for machine, text in zip(world.machines, world.metrics, strict=False):
        counted: Counter[str] = Counter()
        for outcome, value in _COUNT.findall(text):
            counted[outcome] += int(float(value))
        logged = Counter(
            line.fields["outcome"]
            for line in world.log
            if line.event == "request" and line.machine == machine.name
        )
        if counted != logged and not machine.is_dead:
            yield f"{machine.name}: counted {dict(counted)}, logged {dict(logged)}"


def nothing_is_left(world: World) -> Iterator[str]:
    """When all clients are gone, nothing is open: no request, stream, upstream, connection in use."""
    for gauges in world.gauges:
        if gauges.open_requests:
            yield f"{gauges.open_requests} requests open"
        for name in ("streams_open", "upstreams_open", "requests_open"):
            if gauges.values.get(name):
                yield f"{name} is {gauges.values[name]:g}"
        if any(gauges.taken_slots):
            yield f"{gauges.taken_slots} slots are taken"
        idle = gauges.values.get("idle_upstreams", 0)
        if len(gauges.open_upstreams) != idle:
            yield f"{len(gauges.open_upstreams)} upstream connections, {idle:g} idle ones"


def nothing_is_open_at_the_end(world: World) -> Iterator[str]:
    """When a router has left, every connection that it had is closed."""
    for name, end in world.network.ends:
        if end.closed_at == inf:
            yield f"{name}: {end.name}"
    for machine in world.machines:
        for end in machine.ends:
            if end.closed_at == inf and machine.ended_at is not None:
                yield f"{machine.name}: {end.name}"


def router_leaves_in_time(world: World) -> Iterator[str]:
    """After SIGTERM a router leaves within its grace and a second, whoever hangs."""
    for machine in world.machines:
        if machine.stopped_at is None:
            continue
        most = machine.config.server.graceful_timeout + 1.0
        took = inf if machine.ended_at is None else machine.ended_at - machine.stopped_at
        if took > most:
            yield f"{machine.name}: {took:.3f} s, {most} at most"


def nothing_secret_is_told(world: World) -> Iterator[str]:
    """No key and no word of a prompt or an answer is in a log line or a metric, no key in an answer."""
    keys = [GOOD_KEY, BAD_KEY, ADMIN_KEY]
    for provider in _providers(world):
        keys += [provider["api_key"], *provider.get("api_keys", ())]
    for line in world.log:
        if any(key in line.text for key in keys) or _PROMPT.search(line.text):
            yield f"in the log: {line.text[:300]}"
    for text in world.metrics:
        if any(key in text for key in keys) or _PROMPT.search(text):
            yield "in the metrics"
    for got in world.got:
        body = bytes(got.parser.body)
        if any(key.encode() in body for key in keys):
            yield f"r{got.ask.id} was told a key: {body[:200]!r}"


def _providers(world: World) -> Iterator[dict[str, Any]]:
    for config in (world.plan.config, *world.plan.configs):
        if not isinstance(config, str):
            yield from config["providers"].values()


def nothing_fails_within(world: World) -> Iterator[str]:
    """The router itself does not fail: no exception, no internal error."""
    if world.crash is not None:
        yield f"{type(world.crash).__name__}: {_leaf(world.crash)}"
    if world.is_stuck:
        yield "everybody waits, and nothing is due"
    for line in world.log:
        if line.level in ("ERROR", "CRITICAL") and not line.event.startswith("configuration "):
            yield f"{line.at - BEGINNING:.3f} s: {line.text[-400:]}"


def _leaf(fault: BaseException) -> BaseException:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


BOOKS = (request_is_booked_once, book_tells_the_truth, usage_is_the_providers)
BOOKS_OF_WORLD = (
    nothing_fails_within,
    counts_are_the_logs,
    nothing_is_left,
    nothing_is_open_at_the_end,
    router_leaves_in_time,
    nothing_secret_is_told,
)
