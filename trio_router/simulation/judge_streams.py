"""What streams owe their clients beside the answer: usage, comments in silence, limits in time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trio_router.simulation.expected import limits_of
from trio_router.simulation.pipes import WELL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case

_AT_ONCE = 0.001  # s
_LINGER = 0.25  # s that an answer which has said all may take to end
_NEAR = 0.3  # s on the way
_TWO = 2
_BABBLE = 5.0  # s between what a provider sends that says nothing
_USAGE_ALONE = re.compile(rb'"choices":\[\].*"usage":\{|"usage":\{.*"choices":\[\]')
_OF_OPENAI = ("chat", "completions")


def usage_is_told_to_who_asked(case: Case) -> Iterator[str]:
    """An event of usage alone reaches the client that asked for usage, and no other."""
    said, ask = case.said, case.ask
    if said is None or ask.api not in _OF_OPENAI or not ask.is_stream or case.got.end != "whole":
        return
    has_asked = ask.api == "chat" and ask.with_usage
    alone = sum(1 for event in said.events if _USAGE_ALONE.search(event))
    if alone and not has_asked:
        yield f"{alone} events of usage that nobody asked for"
    if has_asked and said.is_good and case.line is not None:
        is_known = case.line.fields["usage"] == "reported"
        if is_known and said.prompt_tokens is None and not _is_cut_short(case):
            yield "it asked for usage and was not told"


def _is_cut_short(case: Case) -> bool:
    """Whether what was to follow the finish may have been lost, or was another answer's."""
    return len(case.told) > 1 or any(told.fault is not None for told in case.told)


def silence_is_bridged(case: Case) -> Iterator[str]:
    """A client that has its head hears something each `keepalive` seconds, and no comment sooner."""
    got, said = case.got, case.said
    limit = limits_of(case)["keepalive"]
    if said is None or not case.ask.is_stream or not _listens(case):
        return
    if limit is not None and got.longest_silence > limit + _AT_ONCE:
        yield f"{got.longest_silence:.3f} s of silence, {limit} at most"
    if got.end != "whole":
        return
    most = 0.0 if limit is None else (got.ended_at - got.head_at) / limit + _AT_ONCE
    most += limits_of(case)["early_commit"] is not None  # it sends one with the head
    if said.comments > most:
        yield f"{said.comments} comments, {most:.1f} at most"


def _listens(case: Case) -> bool:
    """Whether its client hears all at once."""
    ask = case.ask
    caller = case.caller
    is_busy = any(a.is_pipelined for a in caller.asks)  # it sends another request meanwhile
    is_slow = ask.read_gap > 0 or ask.stall > 0 or ask.read_most < 1000
    return not is_busy and not is_slow and caller.back == WELL and caller.there == WELL


def nothing_is_promised_before_it_is_known(case: Case) -> Iterator[str]:
    """The status 200 of a stream goes out with the first event that says something, or later."""
    said, early = case.said, limits_of(case)["early_commit"]
    if said is None or not case.ask.is_stream or early is not None or case.got.end != "whole":
        return
    if said.error is None or said.text or said.thoughts or said.calls or said.finish:
        return
    if any(told.fault is not None and told.fault.kind in _STRANGE for told in case.told):
        return
    if any(told.has_said_finish for told in case.told):
        return  # that says something, and two of the APIs tell it at the end
    yield f"an error after the status 200, and nothing before it: {str(said.error)[:160]}"


_STRANGE = (
    "bad_shape",
    "bad_json",
    "too_large",
)  # events that may say something, for all anybody knows


def limits_end_what_says_nothing(case: Case) -> Iterator[str]:
    """A stream in which nothing is said any more ends within its limits, whatever else comes in."""
    line, limits = case.line, limits_of(case)
    if line is None or not case.is_call or case.route is not None or not _listens(case):
        return
    told = case.told[0] if len(case.told) == 1 else None
    if told is None:
        return
    took, total = line.at - told.at, limits["total"]
    if case.ask.is_stream and total is not None and took > total + 1:
        yield f"{took:.3f} s, {total} s in all at most"
    if told.fault is None or told.fault.kind not in ("comments", "trickle", "stall"):
        return
    style = told.take.style
    events = len(told.script.lines) if told.script is not None else 0
    telling = style.head + style.first + style.gap * events
    silent = limits["response"]
    if case.ask.is_stream:
        is_silent = told.fault.kind == "stall" or limits["read"] < _BABBLE
        silent = limits["first_event"] + limits["read" if is_silent else "progress"]
    if took > telling + silent + 2:
        yield f"{took:.3f} s, though {telling:.1f} s of it at most said something"


def good_end_is_told_at_once(case: Case) -> Iterator[str]:
    """A stream that its provider has ended in words ends, however late its body's end comes."""
    line, told = case.line, case.told[0] if len(case.told) == 1 else None
    if line is None or told is None or not case.ask.is_stream or not _listens(case):
        return
    style = told.take.style
    has_ended = told.speech in ("openai", "anthropic") and (style.done or told.speech == "anthropic")
    if not has_ended or style.as_json or case.said is None or not case.said.is_good:
        return
    provider = next(p for p in case.providers if p.name == told.provider)
    ways = [back for _, back in provider.courses]
    if any(w.rate or w.room < 4096 or w.hole >= 0 or w.latency + w.jitter > _NEAR for w in ways):
        return
    if line.at > told.said_at + _LINGER + _NEAR + _AT_ONCE:
        yield f"it ended {line.at - told.said_at:.3f} s after its last event was out"


def torn_answer_is_gone_on_with(case: Case) -> Iterator[str]:
    """A torn answer is gone on with by another target that says the same."""
    line = case.line
    if line is None or case.route is None or "hedge" in case.route or len(case.told) < _TWO:
        return
    if all(one["error"] != "replay_diverged" for one in line.fields["attempts"]):
        return
    torn, *others = sorted(case.told, key=lambda told: told.at)
    answers = {told.take.answer for told in case.told}
    is_odd = any(told.take.style.broken_utf8 or told.begun for told in case.told)
    has_more = torn.take.answer.thoughts or torn.take.answer.calls
    if len(answers) == 1 and not is_odd and not has_more and all(told.fault is None for told in others):
        yield f"{others[0].provider} says the same, and was not heard: {case.error}"


def status_inside_a_200_counts(case: Case) -> Iterator[str]:
    """An error inside a 200 whose code is a number, before anything was said, counts as that status."""
    told = case.told[0] if len(case.told) == 1 else None
    if told is None or told.fault is None or told.fault.kind != "error_event" or told.sent:
        return
    style, is_early = told.take.style, limits_of(case)["early_commit"] is not None
    if told.speech != "gemini" or style.as_array or style.as_json or is_early or not told.words:
        return
    if case.is_call and case.got.end == "whole" and case.status in (200, 502):
        yield f"its status is {case.status}, not 503"


def every_choice_is_told(case: Case) -> Iterator[str]:
    """Where several choices were asked for, each comes, and a good end is the end of them all."""
    said = case.said
    if said is None or case.ask.extra.get("n") != 2 or not said.is_good or case.got.end != "whole":
        return
    if any(told.fault is not None for told in case.told) or not case.told or case.told[0].choices != 2:
        return
    other = said.others.get(1)
    if other is None or (other.text, other.calls, other.finish) != (said.text, said.calls, said.finish):
        yield f"the second choice is {other}"


STREAMS = (
    torn_answer_is_gone_on_with,
    good_end_is_told_at_once,
    every_choice_is_told,
    status_inside_a_200_counts,
    usage_is_told_to_who_asked,
    silence_is_bridged,
    nothing_is_promised_before_it_is_known,
    limits_end_what_says_nothing,
)
