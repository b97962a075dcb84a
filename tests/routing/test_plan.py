"""One request's way along the targets of its route, step by step on a clock that the tests move."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.routing.tables import TARGETS, fleet, route, table
from trio_router.dialects.translate import status_error
from trio_router.errors import (
    InvalidRequest,
    NetworkError,
    ProviderAuthError,
    TargetsUnavailable,
    Truncated,
    UpstreamTimeout,
)
from trio_router.routing.plan import Plan, Step
from trio_router.wire.jsoncodec import dumps

KEYED = 'providers:\n  a: {base_url: "http://a", api_keys: [k1, k2, k3], models: {x: {}}}\n'


def status(code: int, retry_after: str | None = None, reason: str = "x", message: str = "no"):
    body = dumps({"error": {"message": message, "code": reason}})
    return status_error("p", code, body, retry_after)


class Way:
    """A plan, and the time.  Half of each wait's jitter is drawn."""

    def __init__(self, settings: str = TARGETS, *, of=None) -> None:
        self.route = route(settings) if of is None else of
        self.fleet = fleet(self.route)
        self.plan = Plan(self.route, self.route.targets, self.fleet)
        self.now = 0.0

    def next(self) -> tuple[str, float] | None:
        step = self.plan.next(self.now)
        return None if step is None else (step.target.name, step.delay)

    def ask(self, error=None, key: int = 0) -> str:
        """Takes the next step and what it brings; the name of the target."""
        step = self.plan.next(self.now)
        assert isinstance(step, Step)
        self.now += step.delay
        assert self.plan.may_begin(step.target, self.now)
        if error is not None:
            self.fail(step.target, error, key)
        return step.target.name

    def fail(self, target, error, key: int = 0) -> None:
        self.plan.failed(target, error, self.now, key=key, wall=0.0, random=lambda: 0.5)

    def end(self, error) -> list[str]:
        """The targets that are asked until there is no next step, if each fails with `error()`."""
        asked = []
        while self.plan.next(self.now) is not None and len(asked) < 100:
            asked.append(self.ask(error()))
        return asked

    def told(self):
        return self.plan.error(self.now)


class TestOrder:
    def test_the_first_target_is_asked_at_once(self):
        assert Way().next() == ("a/x", 0.0)

    def test_a_failure_that_may_pass_is_retried_twice_before_the_next_target_is_asked(self):
        way = Way()
        assert [way.ask(NetworkError("lost")) for _ in range(4)] == ["a/x", "a/x", "a/x", "b/y"]

    def test_the_waits_before_retries_grow_twofold(self):
        way = Way()
        way.ask(NetworkError("lost"))
        first = way.plan.next(way.now)
        way.plan.may_begin(first.target, way.now)
        way.fail(first.target, NetworkError("lost"))
        second = way.plan.next(way.now)
        assert second.delay == 2 * first.delay > 0

    def test_a_failure_that_is_the_targets_own_leads_to_the_next_at_once(self):
        way = Way()
        assert way.ask(UpstreamTimeout("a", "first_event", 10)) == "a/x"
        assert way.next() == ("b/y", 0.0)

    def test_a_failure_of_the_request_itself_ends_the_way(self):
        way = Way()
        way.ask(status(422))
        assert way.next() is None
        assert way.told().status == 422

    @pytest.mark.parametrize(("choice", "expected"), [("error", None), ("fallback", ("b/y", 0.0))])
    def test_refused_content_is_asked_elsewhere_only_if_the_route_says_so(self, choice, expected):
        way = Way(f"{TARGETS}, content_filter: {choice}")
        way.ask(status(400, reason="content_filter"))
        assert way.next() == expected

    def test_a_prompt_that_is_too_long_goes_to_larger_targets_only(self):
        way = Way(
            "targets: [{model: a/x, context: 100}, {model: b/y, context: 100}, "
            "{model: c/z, context: 200}]"
        )
        way.ask(status(400, reason="context_length_exceeded"))
        assert way.next() == ("c/z", 0.0)
        way.ask(status(400, reason="context_length_exceeded"))
        assert way.next() is None

    def test_a_target_whose_circuit_is_open_is_passed_over(self):
        way = Way()
        target = way.route.targets[0]
        for _ in range(3):
            way.fleet.state(target).circuit(way.route.policy.cooldown).failed(0.0)
        assert way.next() == ("b/y", 0.0)

    def test_a_step_that_was_waited_for_is_not_taken_if_the_target_died_meanwhile(self):
        way = Way()
        way.ask(NetworkError("lost"))
        step = way.plan.next(way.now)
        for _ in range(3):
            way.fleet.state(step.target).circuit(way.route.policy.cooldown).failed(way.now)
        assert not way.plan.may_begin(step.target, way.now)
        way.now += 1000.0  # it may be well again, but this request is done with it
        assert way.next() == ("b/y", 0.0)

    @given(st.lists(st.sampled_from(["lost", 429, 500, 404, 401, "slow", "long"]), min_size=60))
    def test_whatever_happens_each_target_is_asked_a_few_times_and_the_way_ends(self, faults):
        errors = {
            "lost": lambda: NetworkError("lost"),
            "slow": lambda: UpstreamTimeout("a", "first_event", 10),
            "long": lambda: status(400, reason="context_length_exceeded"),
        }
        way, rest = Way(), iter(faults)

        def error():
            fault = next(rest)
            return errors[fault]() if isinstance(fault, str) else status(fault)

        asked = way.end(error)
        assert asked == sorted(asked)  # nobody is gone back to
        assert all(asked.count(name) <= 1 + way.route.policy.retry.attempts for name in asked)
        assert way.told().status >= 400


class TestPatience:
    def test_a_retry_after_is_kept_to_the_second(self):
        way = Way()
        way.ask(status(429, "2"))
        assert way.next() == ("a/x", 2.0)

    def test_a_long_retry_after_leads_to_the_next_target_and_is_kept_by_later_requests(self):
        way = Way()
        way.ask(status(429, "60"))
        assert way.next() == ("b/y", 0.0)
        later = Plan(way.route, way.route.targets, way.fleet)
        assert later.next(59.0).target.name == "b/y"
        assert later.next(61.0).target.name == "a/x"

    def test_a_short_rest_is_waited_for_once_where_no_target_is_free(self):
        way = Way("targets: [{model: a/x}, {model: b/y}]")
        for target, seconds in zip(way.route.targets, (3.0, 2.0), strict=True):
            way.fleet.state(target).rest.ask(0.0, seconds)
        assert way.next() == ("b/y", 2.0)
        assert way.next() == ("a/x", 3.0)  # each rest is waited for once
        assert way.next() is None

    def test_who_finds_every_target_at_rest_is_told_when_to_come_back(self):
        way = Way("targets: [{model: a/x}, {model: b/y}]")
        for target, seconds in zip(way.route.targets, (90.0, 70.5), strict=True):
            way.fleet.state(target).rest.ask(0.0, seconds)
        assert way.next() is None
        error = way.told()
        assert isinstance(error, TargetsUnavailable)
        assert error.retry_after == "71"
        assert "a/x" in error.message
        assert "b/y" in error.message

    def test_retries_stop_when_the_targets_budget_is_used_up(self):
        way = Way()
        budget = way.fleet.state(way.route.targets[0]).budget
        while budget.take(0.0):
            pass
        assert way.ask(NetworkError("lost")) == "a/x"
        assert way.next()[0] == "b/y"


class TestKeys:
    def test_each_refused_key_is_followed_by_the_next_until_none_is_left(self):
        way = Way(of=table(providers=KEYED).resolve("a/x"))
        for key in (0, 1, 2):
            assert way.ask(ProviderAuthError("who"), key) == "a/x"
        assert way.next() is None
        assert isinstance(way.told(), ProviderAuthError)
        assert not way.fleet.ring(way.route.targets[0].target).has_ready(way.now)

    def test_a_key_that_has_used_up_its_rate_is_followed_by_another_at_once(self):
        way = Way(of=table(providers=KEYED).resolve("a/x"))
        way.ask(status(429, "30"), key=0)
        assert way.next() == ("a/x", 0.0)
        assert [way.fleet.ring(way.route.targets[0].target).pick(1.0) for _ in range(3)] == [1, 2, 1]


class TestTornAnswers:
    def test_by_default_the_way_ends_where_an_answer_breaks_off(self):
        way = Way()
        way.ask()
        way.plan.torn(way.route.targets[0], Truncated("cut"))
        assert way.next() is None
        assert way.told().code == "upstream_truncated"

    def test_with_replay_each_other_target_is_asked_once_and_the_first_break_is_told(self):
        way = Way(f"{TARGETS}, midstream: replay")
        way.ask()
        way.plan.torn(way.route.targets[0], Truncated("cut"))
        assert way.ask(NetworkError("lost")) == "b/y"
        assert way.ask() == "c/z"
        way.plan.torn(way.route.targets[2], NetworkError("lost"))
        assert way.next() is None
        error = way.told()
        assert error.code == "upstream_truncated"
        assert "b/y: network error; c/z: network error" in error.message

    def test_with_prefill_only_those_are_asked_that_can_go_on_from_a_beginning(self):
        way = Way(
            "targets: [{model: a/x}, {model: b/y}, {model: c/z, prefill: true}], midstream: prefill"
        )
        way.ask()
        way.plan.torn(way.route.targets[0], Truncated("cut"))
        assert way.next() == ("c/z", 0.0)
        way.plan.give_up()
        assert way.next() is None


class TestRivals:
    def test_a_rival_is_the_first_target_that_was_not_asked_yet(self):
        way = Way()
        way.ask()
        assert way.plan.rival(0.0).name == "b/y"

    def test_who_rests_or_has_an_open_circuit_is_no_rival(self):
        way = Way()
        way.ask()
        _, resting, dead = way.route.targets
        way.fleet.state(resting).rest.ask(0.0, 5.0)
        for _ in range(3):
            way.fleet.state(dead).circuit(way.route.policy.cooldown).failed(0.0)
        assert way.plan.rival(0.0) is None
        assert way.plan.rival(5.0).name == "b/y"


class TestWhatTheClientIsTold:
    @pytest.mark.parametrize(
        ("errors", "code"),
        [
            ((UpstreamTimeout("a", "first_event", 1), status(503)), 503),
            ((status(503), UpstreamTimeout("a", "first_event", 1)), 503),
            ((status(404), InvalidRequest("own")), 404),
            ((InvalidRequest("own"), status(404)), 404),
            ((UpstreamTimeout("a", "first_event", 1), status(404)), 504),
            ((status(402), status(404)), 402),
        ],
        ids=str,
    )
    def test_the_most_telling_failure_is_told_with_all_that_was_tried(self, errors, code):
        way = Way("targets: [{model: a/x}, {model: b/y}], retry: {attempts: 0}")
        for error in errors:
            way.ask(error)
        told = way.told()
        assert told.status == code
        assert "(tried a/x: " in told.message
        assert "; b/y: " in told.message

    def test_a_single_failure_is_told_as_it_is(self):
        way = Way()
        way.ask(status(422, message="too odd"))
        assert "tried" not in way.told().message
