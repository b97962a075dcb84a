"""What may follow from what was done to a request: the errors that it may end in, its limits."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from trio_router.simulation.stage import BEGINNING

if TYPE_CHECKING:
    from trio_router.simulation.cases import Case
    from trio_router.simulation.plan import Fault, Meaning, Provider, Style
    from trio_router.simulation.told import Told

_DEFAULTS: dict[str, Any] = {
    "connect": 10, "write": 10, "pool": 10, "first_event": 60, "read": 30, "response": 60,
    "total": None, "stall": 30, "keepalive": 15, "early_commit": None, "progress": 300,
}  # fmt: skip
_LOST = {"provider_network_error", "upstream_truncated", "malformed_json"}
_CUT = {"provider_network_error", "upstream_truncated"}
# Faults that say more than was to be said.
_ADDING = ("bad_json", "bad_shape", "bad_framing", "too_large", "error_event", "comments", "trickle")
_OF_FAULT: dict[str, set[str]] = {
    "close": _LOST,
    "reset": _LOST,
    "redirect": _LOST,
    "garbage": _LOST,
    "fin": _CUT,
    "broken": _CUT,
    "bad_framing": _LOST,
    "silence": {"provider_timeout"},
    "stall": {"provider_timeout"},
    "comments": {"provider_timeout", *_LOST},
    "trickle": {"provider_timeout", *_LOST},
    "cut": _CUT,
    "early_done": {*_LOST, "upstream_empty"},
    "no_finish": {*_LOST, "upstream_empty"},
    "error_event": {"provider_stream_error", "503", "UNAVAILABLE", *_LOST},
    "bad_json": {"malformed_json", "upstream_truncated", "provider_network_error"},
    "bad_shape": {"malformed_json", "upstream_truncated", "provider_network_error"},
    "too_large": {"event_too_large", "malformed_json", "provider_network_error", "upstream_truncated"},
    "html": {"malformed_json"},
    "empty": {"upstream_empty"},
    "usage_only": {"upstream_empty"},
}


def limits_of(case: Case) -> dict[str, Any]:
    told: dict[str, Any] = case.config["timeouts"]
    return _DEFAULTS | told


def neighbour_left(case: Case) -> bool:
    """Whether the client left a request that it had sent behind this one, and so this one too."""
    client = case.client
    place = client.got.index(case.got)
    return any(after.ask.is_pipelined and after.has_left for after in client.got[place + 1 :])


def is_sending_ahead(case: Case) -> bool:
    """Whether its client was still sending a request behind this one, and read nothing meanwhile."""
    client = case.client
    behind = client.got[client.got.index(case.got) + 1 :]
    return any(got.ask.is_pipelined and got.begun_at < inf and got.sent_at == inf for got in behind)


def is_lenient(case: Case, told: Told) -> bool:
    """Whether `lenient_end` takes for whole what a fault has made of this answer."""
    fault = told.fault
    if fault is None or not case.config["providers"][told.provider].get("lenient_end"):
        return False
    match told.take.style.framing:
        case "chunked":
            return fault.kind not in ("broken", "fin", "bad_framing")
        case "length":
            return fault.kind not in ("broken", "fin", "bad_framing", "cut", "no_finish", "early_done")
    return fault.kind != "broken"  # the connection's end is the body's


def finish_for(api: str, answer: Meaning) -> tuple[str, ...]:
    """What a client of `api` is told as the reason of a good end."""
    match api:
        case "messages":
            told = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
            return (told[answer.finish],)
        case "responses":
            return ("incomplete",) if answer.finish == "length" else ("completed", "response.completed")
    return (answer.finish,)


def causes(case: Case) -> set[str]:
    """The codes of all errors that the request may end in; nothing if it must end well."""
    found: set[str] = set()
    for told in case.told:
        found |= _of_told(case, told)
    found |= _of_connects(case) | _of_limits(case) | _of_itself(case)
    if case.is_stopped:
        found |= {"draining", "stopped", "provider_timeout", "provider_network_error"}
    if case.route is not None:
        found |= _of_rests(case)
    return found


def _of_told(case: Case, told: Told) -> set[str]:
    config = case.config
    found: set[str] = set()
    fault, style = told.fault, told.take.style
    if fault is not None:
        found |= _of_status(told, fault) if fault.kind == "status" else _OF_FAULT[fault.kind]
    is_cut = fault is not None and "upstream_truncated" in found
    if (is_cut or "upstream_empty" in found) and case.ask.api == "embeddings":
        found.add("malformed_json")  # it is one JSON value, of which no end can be missed
    if is_cut and config["providers"][told.provider].get("lenient_end"):
        found.add("upstream_empty")  # the cut came before anything was said
    if config["stream"].get("invalid_utf8") == "error" and (style.broken_utf8 or is_cut):
        found.add("malformed_utf8")  # a cut may come within a character
    made = told.script
    if made is not None and sum(map(len, made.lines)) > config["stream"].get("max_event", 8388608):
        found.add("event_too_large")
    if _is_slow(style, _connecting(case, told.provider)) or _is_far(case, told.provider):
        found.add("provider_timeout")
    return found


def _of_status(told: Told, fault: Fault) -> set[str]:
    if fault.status in (401, 403):
        return {"provider_auth_error", "some_code", str(fault.status), f"upstream_{fault.status}"}
    return {str(fault.status), "some_code", f"upstream_{fault.status}"}


def _is_slow(style: Style, before: float = 0.0) -> bool:
    """Whether an answer that has taken `before` seconds may reach a limit; the least is 0.5 s."""
    return before + style.head + style.first + style.gap + style.end > 0.4


def _connecting(case: Case, name: str) -> float:
    provider = next(p for p in case.world.plan.providers if p.name == name)
    return max(connect.after for connect in provider.connects)


def _is_far(case: Case, name: str) -> bool:
    """Whether what goes to that provider, or comes from it, may be slower than a limit."""
    provider = next(p for p in case.world.plan.providers if p.name == name)
    return any(
        course.latency >= 0.05 or course.jitter >= 0.2 or course.rate or course.hole >= 0
        for pair in provider.courses
        for course in pair
    )


def _of_connects(case: Case) -> set[str]:
    found: set[str] = set()
    end = min(case.got.ended_at, case.got.left_at)
    names = case.targets
    for at, name, kind in case.world.connects:
        if name in names and case.got.begun_at <= at <= end and kind != "ok":
            found |= {"provider_timeout"} if kind == "hangs" else {"provider_network_error"}
    for provider in case.providers:
        if any(c.after >= 1 for c in provider.connects) or _is_far(case, provider.name):
            found.add("provider_timeout")
            # A kept connection may be closed by the provider while a request is on its way: if that
            # is known soon, the request is sent again.
            if (provider.closes_after or provider.keep_alive < 60) and _tells_late(provider):
                found.add("provider_network_error")
        if any(_says_too_much(told) for told in case.world.outlets[provider.name].told):
            found.add("provider_network_error")  # it comes when the connection is used again
        if any(c.hole >= 0 for pair in provider.courses for c in pair):
            found |= _LOST | {"provider_timeout"}
    return found


def _tells_late(provider: Provider) -> bool:
    """Whether the way there and back may take a second, or a head goes in many pieces."""
    return any(
        there.rate
        or (there.room < 1000 and there.latency + there.jitter > 0)
        or back.rate
        or there.latency + there.jitter + back.latency + back.jitter > 0.8
        or max(there.hole, back.hole) >= 0
        for there, back in provider.courses
    )


def _says_too_much(told: Told) -> bool:
    """Whether more came than the length that its head told."""
    is_more = told.fault is not None and told.fault.kind in _ADDING
    return is_more and told.take.style.framing == "length"


def _of_limits(case: Case) -> set[str]:
    config = case.config
    found: set[str] = set()
    if any("max_streams" in later["server"] for later in case.configs):
        found |= {"overloaded"}
    providers = [config["providers"].get(name, {}) for name in case.targets]
    if any("max_in_flight" in provider for provider in providers):
        found |= {"overloaded", "provider_timeout"}
    total = limits_of(case)["total"]
    if total is not None and (case.ask.read_gap or case.ask.stall or _is_caller_slow(case)):
        found.add("provider_timeout")
    return found


def _is_caller_slow(case: Case) -> bool:
    caller = case.caller
    return caller.back != type(caller.back)()


def _of_itself(case: Case) -> set[str]:
    """What the request itself is the cause of."""
    ask, config = case.ask, case.config
    found: set[str] = set()
    if ask.auth in ("bad", "none") and "auth" in config:
        found.add("invalid_api_key")
    if len(ask.prompt) > 30_000 and "max_body" in config["server"]:
        found.add("request_too_large")
    if ask.pieces > 1 and ask.piece_gap >= 60:
        found.add("request_timeout")
    names = case.targets
    if any(name not in config["providers"] for name in names):
        found.add("model_not_found")
    dialects = {p.dialect for p in case.world.plan.providers if p.name in names}
    if ask.api == "embeddings" and "anthropic" in dialects:
        found.add("invalid_request")
    return found


def _of_rests(case: Case) -> set[str]:
    """Targets of a route that others have found dead before."""
    for other in case.world.plan.callers:
        for ask in other.asks:
            for name in case.targets:
                if any(t.fault is not None or _is_slow(t.style) for t in ask.takes.get(name, ())):
                    return {"targets_unavailable"}
    failed = {name for _, name, kind in case.world.connects if kind != "ok"}
    has_outage = any(p.outages for p in case.providers)
    is_far = any(_is_far(case, name) for name in case.targets)
    return {"targets_unavailable"} if failed or has_outage or is_far else set()


def is_within(case: Case, at: float) -> bool:
    return case.got.begun_at <= at <= min(case.got.ended_at, case.got.left_at, inf)


def since_beginning(at: float) -> float:
    return at - BEGINNING
