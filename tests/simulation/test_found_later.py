"""What fresh seeds have found in the router: each sentence was broken once, by the world below it."""

from __future__ import annotations

import pytest

from tests.simulation.worlds import answer, check, route, take, world
from trio_router.simulation.pipes import Course
from trio_router.simulation.plan import Ask, Fault, Provider, Style, Take, ToolCall

CALL = ToolCall("tool0", '{"where":"Paris","deep":[1,2]}')


@pytest.mark.parametrize("api", ["messages", "responses", "completions", "chat"])
def test_a_last_event_without_its_line_end_ends_the_stream_once(api):
    # Seed 20705: the end of the body came one byte before the end of `message_stop`.
    dialect = "anthropic" if api == "messages" else "openai"
    ask = Ask(0, api, "p0/m", is_stream=True)
    plan = world([Provider("p0", dialect)], ask)
    plan.config["providers"]["p0"]["responses"] = api == "responses"
    for at in range(900, 1000, 2):
        ask.takes = {"p0": (take(piece=0, fault=Fault("cut", at=at / 1000)),)}
        check(plan)


@pytest.mark.parametrize("kind", ["cut", "fin"])
def test_a_done_that_was_cut_is_no_malformed_event(kind):
    # Seed 20958: `data: [DONE` after the finish reason.
    ask = Ask(0, "chat", "p0/m", is_stream=True)
    for at in range(80, 100):
        ask.takes = {"p0": (take(piece=0, usage="none", fault=Fault(kind, at=at / 100)),)}
        check(world([Provider("p0", "openai")], ask))


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_who_takes_a_little_all_the_time_is_not_stalled(api):
    # Seed 21489: 300 bytes each third of a second; one event is more than it takes in 2 s.
    long = take(text="word " * 3000, piece=3000, gap=0.05)
    ask = Ask(0, api, "p0/m", is_stream=True, takes={"p0": (long,)})
    plan = world([Provider("p0", "openai")], ask, timeouts={"stall": 2}, stream={"buffer": 1})
    plan.callers[0].back = Course(latency=0.3, room=300)
    check(plan)


def test_who_takes_nothing_is_stalled_though_it_took_something_before():
    long = take(text="word " * 60_000, piece=3000, gap=0.05)
    ask = Ask(0, "chat", "p0/m", is_stream=True, takes={"p0": (long,)}, stall_at=4000, stall=100.0)
    plan = world([Provider("p0", "openai")], ask, stream={"buffer": 1})
    plan.config["providers"]["p0"]["timeouts"] = {"stall": 2}
    plan.callers[0].back = Course(latency=0.3, room=300)
    ended = check(plan)
    line = next(line for line in ended.log if line.event == "request")
    assert line.fields["outcome"] == "client_stalled"
    assert 4 < line.at - ended.got[0].begun_at < 8


def test_who_gave_way_in_a_race_is_asked_again_where_the_winner_failed():
    # Seed 21123: nothing has gone out, because the answer is held back until it is whole.
    slow, good = take(first=2.0), take()
    won = take(fault=Fault("broken", at=0.6))
    ask = Ask(0, "chat", "r", is_stream=True, takes={"p0": (slow, good), "p1": (won,)})
    routes = route(
        "p0", "p1", commit="complete", hedge={"after": 0.5, "share": 1.0}, retry={"attempts": 0}
    )
    ended = check(world([Provider("p0", "openai"), Provider("p1", "openai")], ask, routes=routes))
    assert ended.got[0].parser.status == 200
    assert b"[DONE]" in ended.got[0].parser.body


def test_a_good_answer_to_a_plain_model_ends_the_rest_of_its_target():
    # Seed 21144.
    resting = take(fault=Fault("status", status=503, retry_after="40"))
    asks = [
        Ask(0, "chat", "r", takes={"p0": (resting,)}),
        Ask(1, "chat", "p0/m", takes={"p0": (take(1),)}),
        Ask(2, "chat", "r", takes={"p0": (take(2),)}),
    ]
    plan = world([Provider("p0", "openai")], *asks, routes=route("p0", retry={"attempts": 0}))
    plan.callers[1].start, plan.callers[2].start = 5.0, 6.0
    ended = check(plan)
    assert ended.got[2].ended_at - ended.got[2].begun_at < 1


def test_an_answer_that_was_held_back_is_not_followed_by_another_of_a_rival_that_failed_at_once():
    # Seed 25661: both came to their ends in one pass; the failure overwrote the success.
    good, refused = take(first=0.5), take(head=0.25, fault=Fault("redirect"))
    ask = Ask(0, "chat", "r", is_stream=True, takes={"p0": (good,), "p1": (refused,)})
    routes = route(
        "p0", "p1", commit="complete", hedge={"after": 0.25, "share": 1.0}, retry={"attempts": 1}
    )
    for seed in range(15):
        plan = world([Provider("p0", "openai"), Provider("p1", "cohere")], ask, routes=routes)
        plan.seed, plan.haste = seed, 8
        check(plan)


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
@pytest.mark.parametrize("text", ["", "and so"])
def test_thoughts_that_another_target_repeats_in_two_fields_come_once(api, text):
    # Seed 25569: what was sent ended with the thoughts, and Anthropic's have details too.
    meant = answer(text=text, thoughts="thought-0-abc defg")
    broken = Take(meant, Style(piece=4), Fault("no_finish"))
    ask = Ask(0, api, "r", is_stream=True, takes={"p0": (broken,)})
    routes = route("p0", "p1", midstream="replay", retry={"attempts": 0})
    for piece in (0, 3, 7):
        ask.takes["p1"] = (Take(meant, Style(piece=piece)),)
        check(world([Provider("p0", "openai"), Provider("p1", "anthropic")], ask, routes=routes))


@pytest.mark.parametrize("is_lenient", [False, True])
def test_a_done_is_no_end_of_a_responses_stream_without_its_last_event(is_lenient):
    # Seed 7, when worlds got providers that say [DONE] too early.
    ask = Ask(0, "responses", "p0/m", is_stream=True)
    plan = world([Provider("p0", "openai")], ask)
    plan.config["providers"]["p0"] |= {"responses": True, "lenient_end": is_lenient}
    for at in range(10):
        ask.takes = {"p0": (take(piece=20, fault=Fault("early_done", at=at / 10)),)}
        check(plan)


@pytest.mark.parametrize("calls", [(), (CALL,)])
def test_a_message_that_done_has_ended_is_ended_for_its_client(calls):
    # Seed 200661: [DONE] from a provider whose API has none, before the message's own end.
    finish = "tool_calls" if calls else "stop"
    meant = answer(calls=calls, finish=finish)
    ask = Ask(0, "messages", "p0/m", is_stream=True)
    for at in range(20):
        ask.takes = {"p0": (Take(meant, Style(piece=8), Fault("early_done", at=at / 20)),)}
        check(world([Provider("p0", "anthropic")], ask))
