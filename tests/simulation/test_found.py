"""What the simulation has found in the router: each sentence was broken once, by the world below it."""

from __future__ import annotations

import pytest

from tests.simulation.worlds import check, route, take, world
from trio_router.simulation.pipes import Course
from trio_router.simulation.plan import Ask, Deed, Fault, Provider

SLOW_END = Course(jitter=0.0, latency=0.0, rate=12000.0)
RACE = route("p0", "p1", hedge={"after": 0.3, "share": 1.0})


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
@pytest.mark.parametrize("kind", ["broken", "error_event"])
@pytest.mark.parametrize("midstream", ["error", "replay"])
def test_who_wins_a_race_is_ended_and_gone_on_with_as_itself(api, kind, midstream):
    # The rival has sent its head, and nothing more, when the first target's answer begins and breaks.
    slow = take(first=1.0, gap=0.1, fault=Fault(kind, at=0.6))
    rival = take(first=2.0, gap=0.1)
    ask = Ask(0, api, "r", is_stream=True, takes={"p0": (slow,), "p1": (rival, take(gap=0.1))})
    routes = {"r": {**RACE["r"], "midstream": midstream}}
    check(world([Provider("p0", "openai"), Provider("p1", "openai")], ask, routes=routes))


@pytest.mark.parametrize("api", ["messages", "responses"])
def test_what_was_held_back_and_dropped_has_not_been_said(api):
    # The early commit has promised an answer; the one that was held back breaks.
    bad = take(head=1.0, gap=0.2, fault=Fault("broken", at=0.6))
    ask = Ask(0, api, "r", is_stream=True, takes={"p0": (bad,)})
    routes = route("p0", commit="complete", retry={"attempts": 0})
    check(world([Provider("p0", "openai")], ask, routes=routes, timeouts={"early_commit": 0.5}))


@pytest.mark.parametrize("limit", ["first_event", "total"])
def test_no_limit_makes_an_error_of_an_answer_that_has_ended_well(limit):
    # All of it comes at once, shortly before the limit; the body's own end comes after it.
    provider = Provider("p0", "anthropic", keep_alive=60)
    late = take(gather=0, head=0.9, framing="eof")
    ask = Ask(0, "chat", "p0/m", is_stream=True, takes={"p0": (late,)})
    plan = world([provider], ask, timeouts={limit: 1.0})
    plan.providers[0].courses = ((SLOW_END, SLOW_END),)
    check(plan)


@pytest.mark.parametrize("seed", range(5))
def test_no_stop_makes_an_error_of_an_answer_that_has_ended_well(seed):
    # The body's own end comes up to 0.2 s after the answer's: the router is told to leave in between.
    provider = Provider("p0", "anthropic")
    provider.courses = ((Course(), Course(jitter=0.2)),)
    late = take(gather=0, head=0.9, framing="eof")
    ask = Ask(0, "chat", "p0/m", is_stream=True, takes={"p0": (late,)})
    for at in (0.95, 1.0, 1.05):
        plan = world([provider], ask, deeds=[Deed(at, "drain")], server={"graceful_timeout": 0.01})
        plan.seed = seed
        check(plan)


def test_a_number_is_no_text_of_ollamas():
    bad = take(fault=Fault("bad_shape", at=0.5))
    ask = Ask(0, "chat", "p0/m", is_stream=True, takes={"p0": (bad,)})
    check(world([Provider("p0", "ollama")], ask))


def test_a_message_that_told_why_it_stopped_is_ended_for_its_client():
    # Cut after the reason to stop, before the event that says the end.
    cut = take(piece=0, fault=Fault("cut", at=5 / 6))
    ask = Ask(0, "messages", "p0/m", is_stream=True, takes={"p0": (cut,)})
    check(world([Provider("p0", "anthropic")], ask))


def test_an_error_that_has_passed_is_not_told_again_in_other_words():
    # The error is made to tell of what was tried before; it is the same error all the same.
    refused = take(fault=Fault("close"))
    failed = take(piece=6, fault=Fault("error_event", at=0.5))
    ask = Ask(0, "responses", "r", is_stream=True, takes={"p0": (refused,), "p1": (failed,)})
    plan = world([Provider("p0", "openai"), Provider("p1", "openai")], ask, routes=route("p0", "p1"))
    plan.config["providers"]["p1"]["responses"] = True
    check(plan)


def test_a_rival_that_has_lost_before_it_began_asks_nothing():
    # The first event comes at the moment in which the rival is started: the request is let go by then.
    # A connection to it is open, so that it could be asked at once.
    slow = take(head=1.0, gap=0.25, fault=Fault("stall", at=0.6))
    ask = Ask(0, "messages", "r", is_stream=True, takes={"p0": (slow,), "p1": (take(),)})
    other = Ask(1, "chat", "p1/m", takes={"p1": (take(1),)})
    # The first event, which tells the role alone, is an opening and wins nothing.
    routes = route("p0", "p1", hedge={"after": 1.25, "share": 1.0}, retry={"attempts": 0})
    plan = world([Provider("p0", "openai"), Provider("p1", "cohere")], ask, other, routes=routes)
    plan.callers[0].start = 0.5
    for seed in range(10):
        plan.seed = seed
        ended = check(plan)
        assert -1 not in [told.ask for told in ended.outlets["p1"].told]  # asked with nothing
