"""What clients were told: each function finds where one promise was broken, and says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trio_router.simulation.expected import (
    causes,
    finish_for,
    is_lenient,
    is_sending_ahead,
    limits_of,
    neighbour_left,
)
from trio_router.simulation.told import meant, said_so_far

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.plan import Meaning
    from trio_router.simulation.reading import Said
    from trio_router.simulation.told import Told


def answer_is_whole_http(case: Case) -> Iterator[str]:
    """Every answer is framed as HTTP has it; it breaks off only for a client that did not read it."""
    got = case.got
    if got.parser.fault and got.parser.fault != "reset":
        yield got.parser.fault
    is_excused = case.is_stopped or _reads_badly(case) or neighbour_left(case)
    if got.end == "torn" and not is_excused:
        yield f"the connection ended after {got.parser.size} bytes of an answer"


def _reads_badly(case: Case) -> bool:
    """It, or what is before it on its connection."""
    caller = case.caller
    asks = caller.asks[: caller.asks.index(case.ask) + 1]
    stall = limits_of(case)["stall"]
    is_deaf = any(ask.stall >= stall for ask in asks)
    # Who sends ahead does not read meanwhile.
    is_deaf |= any(a.piece_gap or a.framing == "expect" for a in caller.asks) or is_sending_ahead(case)
    # At a rate, what was sent at once is taken at once, and nothing before that.
    back = caller.back
    is_deaf |= bool(back.rate) and back.room / back.rate + back.jitter + back.latency >= stall
    return is_deaf or back.hole >= 0


def request_is_answered(case: Case) -> Iterator[str]:
    """Every request is answered, unless its client left, spoilt its connection, or the router ended."""
    got = case.got
    caller = case.caller
    if got.end == "waiting" and caller.back.hole < 0:
        yield "no answer, and no end of the connection"
    if got.end == "unanswered" and not case.is_stopped and not _is_excused(case):
        yield "the connection ended without an answer"


def _is_excused(case: Case) -> bool:
    """Requests that follow one after which the connection is of no use."""
    got, ask = case.got, case.ask
    caller = case.client
    place = caller.got.index(got)
    if got.sent_at == float("inf") or caller.caller.back.hole >= 0 or caller.caller.there.hole >= 0:
        return True
    if neighbour_left(case):
        return True
    before = caller.got[place - 1] if ask.is_pipelined and place else None
    if before is not None:
        is_last = before.parser.headers.get("connection") == "close" or before.end != "whole"
        # While it sends this one, its client reads nothing of the answer before it.
        return is_last or bool(before.ask.nonsense) or _reads_badly(case)
    # A connection that has rested for its longest may be closed as a request is on its way.
    return ask.wait > 70 or _reads_badly(case)


def says_only_what_was_said(case: Case) -> Iterator[str]:
    """What a client got is the beginning of what one of its providers said."""
    said = case.said
    if said is None or not case.is_call or case.ask.api == "embeddings":
        return
    if not (said.text or said.thoughts or said.calls):
        return
    if not any(_is_beginning(said, _meant(case, told, said)) for told in _speakers(case)):
        yield f"nobody said this: {said.text[-60:]!r} {said.thoughts[-40:]!r} {said.calls}"


def _meant(case: Case, told: Told, said: Said) -> Meaning:
    others = [other for other in _speakers(case) if other is not told and other.at <= told.at]
    before = [other.take.answer.thoughts for other in others]
    return meant(told, said.text, before[-1] if before else "")


def _speakers(case: Case) -> list[Told]:
    return [told for told in case.told if told.script is not None]


def _is_beginning(said: Said, answer: Meaning) -> bool:
    if not answer.text.startswith(said.text) or not answer.thoughts.startswith(said.thoughts):
        return False
    if len(said.calls) > len(answer.calls):
        return False
    for (name, arguments), call in zip(said.calls, answer.calls, strict=False):
        if name != call.name or not _starts(call.arguments, arguments):
            return False
    return True


def _starts(whole: str, beginning: str) -> bool:
    """As text, or as JSON: some dialects have arguments as objects, which are written anew."""
    if whole.startswith(beginning):
        return True
    compact = msgspec.json.encode(msgspec.json.decode(whole)).decode()
    return compact.startswith(beginning)


def good_end_is_whole(case: Case) -> Iterator[str]:
    """A good end comes only after all that a provider said, with the finish that it gave."""
    said = case.said
    if said is None or not said.is_good or not case.is_call or case.got.end != "whole":
        return
    if case.ask.api == "embeddings":
        if said.text != str([[float(case.ask.id), 0.5, -0.25]]):
            yield f"a vector that is not this request's: {said.text}"
        return
    for told in _speakers(case):
        answer = _meant(case, told, said)
        if is_lenient(case, told) or (_is_done_early(told) and not _has_less(told, said)):
            return  # text may end without a reason to; calls are checked by themselves
        # A second choice that has not begun cannot be missed.
        is_only_one = told.choices == 2 and not said.others
        has_ended = told.is_whole or told.has_said_finish or is_only_one
        is_its_finish = said.finish in finish_for(case.ask.api, answer)
        if has_ended and is_its_finish and _is_all(case, said, answer):
            return
    yield f"a good end ({said.finish}) of what nobody has said to its end: {said.text[-60:]!r}"


def _has_less(told: Told, said: Said) -> bool:
    """Whether it said less than the client has, who had the rest from another."""
    text = said_so_far(told)
    return text is not None and len(text) < len(said.text)


def _is_done_early(told: Told) -> bool:
    return told.fault is not None and told.fault.kind == "early_done"


def _is_all(case: Case, said: Said, answer: Meaning) -> bool:
    if said.text != answer.text or len(said.calls) != len(answer.calls):
        return False
    is_shown = case.ask.api in ("chat", "messages") and not any(t.begun for t in case.told)
    if is_shown and said.thoughts != answer.thoughts:
        return False
    return all(
        name == call.name and msgspec.json.decode(arguments) == msgspec.json.decode(call.arguments)
        for (name, arguments), call in zip(said.calls, answer.calls, strict=True)
    )


def stream_ends_once(case: Case) -> Iterator[str]:
    """A stream that ends, ends in exactly one terminal frame; nothing follows it."""
    said = case.said
    if said is None or not case.ask.is_stream or case.got.end != "whole":
        return
    # A provider's own error event passes as it is, whatever should follow it.
    has_passed = case.ask.api == "responses" and said.error is not None and said.ends == 0
    if said.ends != 1 and not has_passed:
        yield f"{said.ends} terminal frames"
    if said.is_good and said.error is not None:
        yield "a good end after an error"


def stream_keeps_its_rules(case: Case) -> Iterator[str]:
    """No event is torn, out of order, doubled, or against the rules of its API."""
    # An event that is JSON and nothing of its dialect passes to a client of the same dialect.
    passes = any(
        told.fault is not None
        and told.fault.kind in ("bad_shape", "too_large")
        and told.speech == _SAME.get(case.ask.api, case.ask.api)
        for told in case.told
    )
    if case.said is not None and not passes:
        yield from case.said.faults[:3]


def good_call_is_whole(case: Case) -> Iterator[str]:
    """The arguments of tool calls are whole JSON where the end is good."""
    said = case.said
    if said is not None and said.is_good:
        for name, arguments in said.calls:
            try:
                msgspec.json.decode(arguments)
            except msgspec.MsgspecError:
                yield f"{name}({arguments[-60:]!r}"


_PING = b'{"type":"ping"}'
_SAME = {"chat": "openai", "messages": "anthropic", "responses": "responses"}


def same_dialect_is_exact(case: Case) -> Iterator[str]:
    """Where client and provider speak the same dialect, the JSON of each event comes byte for byte."""
    said, ask = case.said, case.ask
    if said is None or not ask.is_stream or not case.is_call:
        return
    if case.route is not None and case.route.get("midstream", "error") != "error":
        return
    if any(is_lenient(case, told) or _is_done_early(told) for told in case.told):
        return  # the end may be the router's own
    if said.error is not None and limits_of(case)["early_commit"] is not None:
        return  # the router may have had to begin by itself
    speakers = [t for t in _speakers(case) if t.speech == (_SAME.get(ask.api) or ask.api)]
    if not speakers or len(speakers) != len(_speakers(case)):
        return
    got = [e for e in said.events if e not in (b"[DONE]", _PING)]
    if said.error is not None:  # Responses tell an error in two events
        got = got[:-2] if ask.api == "responses" else got[:-1]
    for told in speakers:
        assert told.script is not None
        style, fault = told.take.style, told.fault
        if style.as_json or (fault is not None and fault.kind.startswith(("bad", "too", "error"))):
            return
        events = [event for event in told.script.events if event and event != _PING]
        if ask.api in ("chat", "completions") and not ask.with_usage:
            events = [e for e in events if b'"choices":[],' not in e]
        if style.broken_utf8 or got == events[: len(got)]:
            return
    yield f"events that are not the provider's own: {got[-1:]}"


def error_has_a_cause(case: Case) -> Iterator[str]:
    """An error is told only where something went wrong, and names what it was."""
    error = case.error
    if error is None or not case.is_call or case.got.has_left:
        return
    allowed = causes(case)
    code = _code(case, error)
    if code not in allowed and str(case.status) not in allowed:
        yield f"status {case.status}, {code}: {str(error)[:160]}; possible: {sorted(allowed)}"


def _code(case: Case, error: dict[str, object]) -> str:
    """The router's own word for it, which two of the APIs have no field for."""
    if case.status == 200 and case.line is not None:
        return str(case.line.fields["error_code"])
    if case.ask.api == "messages" and case.line is not None:
        return str(case.line.fields["error_code"])
    return str(error.get("code"))


def error_is_in_shape(case: Case) -> Iterator[str]:
    """An answer with an error's status has an error's body, in the shape of the client's API."""
    got = case.got
    if case.status >= 400 and got.end == "whole" and case.error is None and not case.is_get:
        yield f"status {case.status} with {bytes(got.parser.body[:100])!r}"
    if case.error is not None and not case.error.get("message"):
        yield f"an error without a message: {case.error}"


def nothing_wrong_nothing_lost(case: Case) -> Iterator[str]:
    """A request that meets no fault, limit or end of anything is answered well and whole."""
    if (
        not case.is_call
        or case.got.has_left
        or case.got.end != "whole"
        or case.ask.auth in ("bad", "none")
    ):
        return
    if causes(case):
        return
    if case.status != 200 or case.said is None or not case.said.is_good:
        yield f"status {case.status}: {str(case.error)[:160]}"


def bad_request_is_refused(case: Case) -> Iterator[str]:
    """Nonsense and bad keys get the status that they deserve, and reach no provider."""
    ask, got = case.ask, case.got
    has_keys = "auth" in case.config
    wanted = _STATUS.get(ask.nonsense)
    if ask.nonsense == "too_large" and "max_body" not in case.config["server"]:
        wanted = None
    if (
        has_keys
        and ask.auth in ("bad", "none")
        and ask.nonsense not in ("garbage", "large_head", "path", "method")
    ):
        wanted = 401
    if wanted is None or got.end != "whole" or ask.api in ("health", "ready", "metrics", "dashboard"):
        return
    if case.told:
        yield f"it reached {case.told[0].provider}"
    others = {503} if case.is_stopped else set()
    if got.ended_at - got.begun_at >= 30:  # its head or its body came too slowly
        others.add(408)
    if case.status != wanted and case.status not in others:
        yield f"status {case.status}, not {wanted}"


_STATUS = {
    "bad_json": 400,
    "no_model": 400,
    "wrong_type": 400,
    "too_large": 413,
    "garbage": 400,
    "large_head": 431,
    "path": 404,
    "method": 405,
    "unknown_model": 404,
}


def answer_names_its_request(case: Case) -> Iterator[str]:
    """Every answer carries its request's id, and those of a provider name it and count the attempts."""
    headers, ask = case.got.parser.headers, case.ask
    if not case.status or ask.nonsense in ("garbage", "large_head"):
        return
    if headers.get("x-request-id") != f"r{ask.id}":
        yield f"x-request-id is {headers.get('x-request-id')}, not r{ask.id}"
    if not case.is_call or case.status != 200:
        return
    target = headers.get("x-trio-router-target", "").partition("/")[0]
    early = limits_of(case)["early_commit"]
    if early is None and target not in {told.provider for told in case.told}:
        yield f"answered by {target}, which was not asked"
    attempts = headers.get("x-trio-router-attempts", "")
    if not attempts.isdigit() or (early is None and int(attempts) < 1):
        yield f"{attempts!r} attempts"


ANSWERS = (
    answer_is_whole_http,
    request_is_answered,
    says_only_what_was_said,
    good_end_is_whole,
    stream_ends_once,
    stream_keeps_its_rules,
    good_call_is_whole,
    same_dialect_is_exact,
    error_has_a_cause,
    error_is_in_shape,
    nothing_wrong_nothing_lost,
    bad_request_is_refused,
    answer_names_its_request,
)
