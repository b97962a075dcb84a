"""What the simulation has found about ends: each sentence was broken once, by the world below it."""

from __future__ import annotations

import pytest

from tests.simulation.worlds import answer, check, route, take, world
from trio_router.simulation.pipes import Course
from trio_router.simulation.plan import Ask, Deed, Fault, Provider, Style, Take, ToolCall

CALL = ToolCall("tool0", '{"where":"Paris","deep":[1,2]}')


@pytest.mark.parametrize("rest", ["three", "  three", "\nthree"])
def test_white_space_that_the_next_target_was_not_told_of_comes_once(rest):
    # The API refuses it at the end of what is to be gone on with; a faithful model says it again.
    text = "one two  \n" + rest
    broken = take(text=text, fault=Fault("broken", at=0.85))
    ask = Ask(0, "chat", "r", is_stream=True, takes={"p0": (broken,), "p1": (take(text=text),)})
    routes = route("p0", "p1", midstream="prefill", retry={"attempts": 0})
    routes["r"]["targets"][1]["prefill"] = True
    for at in range(1, 20):
        ask.takes["p0"] = (take(text=text, piece=2, fault=Fault("broken", at=at / 20)),)
        check(world([Provider("p0", "openai"), Provider("p1", "anthropic")], ask, routes=routes))


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("rate", [3000.0, 6000.0])
def test_who_got_a_whole_answer_is_not_booked_as_ended_by_the_shutdown(is_stream, rate):
    # All of it is with the router when requests are told to end; the client takes what is left.
    ask = Ask(
        0, "chat", "p0/m", is_stream=is_stream, takes={"p0": (take(text="word " * 100, piece=60),)}
    )
    plan = world([Provider("p0", "openai")], ask, server={"graceful_timeout": 0.05})
    plan.deeds = [Deed(0.01, "drain")]
    plan.callers[0].back = Course(rate=rate, room=300)
    check(plan)


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("calls", [(), (CALL,)])
def test_where_any_end_is_a_good_one_the_client_is_told_of_an_end(api, dialect, calls):
    finish = "tool_calls" if calls else "stop"
    ask = Ask(0, api, "p0/m", is_stream=True)
    plan = world([Provider("p0", dialect)], ask)
    plan.config["providers"]["p0"] |= {"lenient_end": True, "responses": dialect == "openai"}
    for at in range(20):
        cut = Take(answer(calls=calls, finish=finish), Style(piece=6), Fault("cut", at=at / 20))
        ask.takes = {"p0": (cut,)}
        check(plan)


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "ollama"])
@pytest.mark.parametrize("kind", ["cut", "fin", "broken"])
@pytest.mark.parametrize("style", [{}, {"as_array": True}, {"as_json": True}])
def test_an_event_that_was_cut_is_no_malformed_one(dialect, kind, style):
    ask = Ask(0, "chat", "p0/m", is_stream=True)
    if style.get("as_array") and dialect != "gemini":
        style = {"newline": "\r\n"}
    for at in range(1, 30):
        ask.takes = {"p0": (take(fault=Fault(kind, at=at / 30), **style),)}
        check(world([Provider("p0", dialect)], ask))


def test_a_connection_that_nobody_needs_is_closed_although_nobody_asks_again():
    asks = [Ask(n, "chat", f"p{n}/m", takes={f"p{n}": (take(n),)}) for n in range(2)]
    providers = [Provider(f"p{n}", "openai", keep_alive=600.0) for n in range(2)]
    plan = world(providers, *asks)
    plan.callers[1].start = 100.0
    check(plan)


def test_thoughts_stay_where_another_target_goes_on_with_the_text():
    first = Take(answer(thoughts="hm, so "), Style(piece=6), Fault("broken", at=0.8))
    other = take(text="something else")
    ask = Ask(0, "chat", "r", is_stream=True, takes={"p0": (first,), "p1": (other,)})
    routes = route("p0", "p1", midstream="prefill", retry={"attempts": 0})
    routes["r"]["targets"][1]["prefill"] = True
    check(world([Provider("p0", "openai"), Provider("p1", "openai")], ask, routes=routes))


def test_no_other_target_is_asked_after_an_answer_that_came_as_its_limit_was_reached():
    whole = take(gather=0, head=1.0, framing="eof")
    ask = Ask(0, "chat", "r", is_stream=True, takes={"p0": (whole,), "p1": (take(),)})
    routes = route("p0", "p1", midstream="replay", retry={"attempts": 0}, first_event=1.0)
    check(world([Provider("p0", "openai"), Provider("p1", "openai")], ask, routes=routes))


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_a_call_that_was_only_named_is_not_left_to_the_client_by_an_answer_without_it(api):
    calling = Take(answer(text="", calls=(CALL,), finish="tool_calls"), Style(piece=6))
    ask = Ask(0, api, "r", is_stream=True)
    routes = route("p0", "p1", midstream="replay", retry={"attempts": 0})
    for at in range(1, 10):
        broken = Take(calling.answer, calling.style, Fault("broken", at=at / 10))
        for other in (take(), calling):
            ask.takes = {"p0": (broken,), "p1": (other,)}
            check(world([Provider("p0", "openai"), Provider("p1", "openai")], ask, routes=routes))
