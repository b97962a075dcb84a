"""What a fleet remembers of targets, and what it takes over from the fleet before it."""

from __future__ import annotations

import pytest

from tests.routing.tables import PROVIDERS, TARGETS, fleet, route, table
from trio_router.errors import InvalidRequest, NetworkError, UpstreamTimeout
from trio_router.routing.affinity import Affinity
from trio_router.routing.circuit import CircuitState

LOST = NetworkError("lost")
KEYED = 'providers:\n  a: {{base_url: "http://a", api_keys: [{keys}], models: {{x: {{{more}}}}}}}\n'


def keyed(keys: str = "k1, k2", more: str = ""):
    return table(providers=KEYED.format(keys=keys, more=more)).resolve("a/x")


def fail(known, of, index: int = 0, times: int = 3, now: float = 0.0) -> None:
    for _ in range(times):
        visit = known.visit(of, of.targets[index], now)
        visit.failed(LOST, now)
        visit.leave(now)


def state_of(known, of, index: int = 0, now: float = 0.0) -> CircuitState:
    target = of.targets[index]
    return known.state(target).circuit(of.policy.cooldown).state(now)


class TestVisits:
    def test_a_visit_counts_from_its_beginning_to_its_end(self):
        plain = route()
        known = fleet(plain)
        visits = [known.visit(plain, plain.targets[0], 0.0) for _ in range(2)]
        assert known.targets["a/x"].in_flight == 2
        for visit in visits:
            visit.leave(1.0)
        assert known.targets["a/x"].in_flight == 0

    def test_failures_in_a_row_open_the_circuit_and_a_whole_answer_closes_it(self):
        plain = route()
        known = fleet(plain)
        fail(known, plain)
        assert state_of(known, plain) is CircuitState.OPEN
        assert known.targets["a/x"].health(0.0)[0] == "cooling down"
        visit = known.visit(plain, plain.targets[0], 10.0)
        visit.succeeded(11.0)
        visit.leave(11.0)
        assert state_of(known, plain, now=11.0) is CircuitState.CLOSED
        assert known.targets["a/x"].health(11.0) is None

    def test_an_error_of_the_request_alone_is_not_held_against_the_target(self):
        plain = route()
        known = fleet(plain)
        for _ in range(9):
            visit = known.visit(plain, plain.targets[0], 0.0)
            visit.failed(InvalidRequest("no"), 0.0)
            visit.leave(0.0)
        assert state_of(known, plain) is CircuitState.CLOSED
        assert known.targets["a/x"].last_error == "invalid_request"

    def test_a_probe_that_was_left_undecided_is_given_to_the_next_request(self):
        plain = route()
        known = fleet(plain)
        fail(known, plain)
        known.visit(plain, plain.targets[0], 10.0).leave(11.0)
        assert known.targets["a/x"].circuit(plain.policy.cooldown).may_ask(11.0)

    def test_one_targets_routes_share_what_is_known_but_each_has_its_own_circuit(self):
        both = table(f"q: {{{TARGETS}, cooldown: {{failures: 1}}}}, r: {{{TARGETS}}}").routes
        known = fleet(*both.values())
        fail(known, both["r"], times=1)
        known.visit(both["q"], both["q"].targets[0], 0.0)
        fail(known, both["r"], times=1)
        assert state_of(known, both["q"]) is CircuitState.OPEN
        assert state_of(known, both["r"]) is CircuitState.CLOSED
        assert known.targets["a/x"].state(0.0) is CircuitState.OPEN  # the worst is shown

    @pytest.mark.parametrize("how", ["answered", "gave way", "first event timed out"])
    def test_the_time_to_the_first_event_is_noted_also_where_none_came(self, how):
        plain = route()
        known = fleet(plain)
        visit = known.visit(plain, plain.targets[0], 1.0)
        match how:
            case "answered":
                visit.answered(3.0)
                visit.gave_way(9.0)  # it has answered: that is its time
            case "gave way":
                visit.gave_way(3.0)
            case _:
                visit.failed(UpstreamTimeout("a", "first_event", 2), 3.0)
        visit.leave(3.0)
        assert known.targets["a/x"].expected(3.0) == 2.0

    def test_a_target_of_no_route_is_remembered_nowhere(self):
        plain, other = route(), keyed()
        known = fleet(plain)
        fail(known, other, times=9)
        assert list(known.targets) == ["a/x", "b/y", "c/z"]
        stranger = table(providers='providers: {a: {base_url: "http://a"}}')
        assert known.ring(stranger.target("a/made-up")) is None


class TestOrders:
    def test_by_default_the_order_is_the_configurations(self):
        plain = route()
        assert fleet(plain).order(plain, 0.0, lambda: 0.5) == list(plain.targets)

    def test_round_robin_gives_each_its_turn(self):
        turning = route(f"{TARGETS}, strategy: round_robin")
        known = fleet(turning)
        first = [known.order(turning, 0.0, lambda: 0.5)[0].name for _ in range(6)]
        assert sorted(first) == sorted(["a/x", "b/y", "c/z"] * 2)

    def test_least_in_flight_prefers_who_has_nothing_open(self):
        balanced = route(f"{TARGETS}, strategy: least_in_flight")
        known = fleet(balanced)
        for index in (0, 2):
            known.visit(balanced, balanced.targets[index], 0.0)
        assert known.order(balanced, 0.0, lambda: 0.5)[0].name == "b/y"

    def test_lowest_latency_prefers_the_better_of_two(self):
        fast = route("targets: [{model: a/x}, {model: b/y}], strategy: lowest_latency")
        known = fleet(fast)
        known.targets["a/x"].latency.add(9.0, 0.0)
        assert known.order(fast, 0.0, lambda: 0.5)[0].name == "b/y"

    def test_who_is_sticky_gets_the_same_order_whatever_the_strategy_would_say(self):
        sticky = route(f"{TARGETS}, strategy: round_robin, sticky: user")
        known = fleet(sticky)
        orders = {
            tuple(t.name for t in known.order(sticky, 0.0, lambda: 0.5, Affinity(sticky="anna")))
            for _ in range(5)
        }
        assert len(orders) == 1


class TestSuccession:
    def test_an_unchanged_target_keeps_all_that_is_known_of_it(self):
        old = route()
        before = fleet(old)
        fail(before, old)
        new = route(f"{TARGETS}, strategy: round_robin")
        after = fleet(new, before=before)
        assert after.targets["a/x"] is before.targets["a/x"]
        assert state_of(after, new) is CircuitState.OPEN

    @pytest.mark.parametrize(
        ("word", "other"),
        [('"http://a"', '"http://elsewhere"'), ("{x: {}}", "{x: {upstream_model: another}}")],
    )
    def test_a_changed_target_starts_fresh_and_its_neighbours_do_not(self, word, other):
        old = route()
        before = fleet(old)
        for index in (0, 1):
            fail(before, old, index)
        new = route(providers=PROVIDERS.replace(word, other))
        after = fleet(new, before=before)
        states = [state_of(after, new, index) for index in (0, 1)]
        assert states == [CircuitState.CLOSED, CircuitState.OPEN]

    def test_a_target_that_was_away_for_a_generation_starts_fresh(self):
        old, without = route(), route("targets: [{model: b/y}]")
        before = fleet(old)
        fail(before, old)
        again = fleet(old, before=fleet(without, before=before))
        assert state_of(again, old) is CircuitState.CLOSED

    def test_a_fleet_shares_with_the_one_before_it_while_both_are_used(self):
        old = route()
        before = fleet(old)
        visit = before.visit(old, old.targets[0], 0.0)
        after = fleet(old, before=before)
        assert after.targets["a/x"].in_flight == 1
        visit.leave(1.0)
        assert after.targets["a/x"].in_flight == 0

    def test_policies_that_are_gone_lose_their_circuits_when_it_settles(self):
        strict = route(f"{TARGETS}, cooldown: {{failures: 1}}")
        before = fleet(strict)
        fail(before, strict, times=1)
        mild = route(f"{TARGETS}, cooldown: {{failures: 50}}")
        after = fleet(mild, before=before)
        target = after.targets["a/x"]
        assert target.state(0.0) is CircuitState.OPEN  # the old requests' circuit still counts
        after.settle()
        assert list(target.circuits) == [mild.policy.cooldown]
        assert target.state(0.0) is CircuitState.CLOSED

    def test_settling_keeps_the_circuits_of_policies_that_stay(self):
        plain = route()
        before = fleet(plain)
        fail(before, plain)
        after = fleet(plain, before=before)
        after.settle()
        assert state_of(after, plain) is CircuitState.OPEN

    def test_the_turns_of_an_unchanged_route_go_on_and_of_a_changed_one_begin_anew(self):
        turning = route(f"{TARGETS}, strategy: round_robin")
        before = fleet(turning)
        known = before.route(turning)
        assert fleet(turning, before=before).route(turning) is known
        changed = route(f"{TARGETS}, strategy: round_robin, first_event: 3")
        assert fleet(changed, before=before).route(changed) is not known

    def test_a_ring_survives_with_unchanged_keys(self):
        old = keyed()
        before = fleet()
        ring = before.ring(old.targets[0].target)
        ring.refused(0, 0.0)
        new = keyed(more="options: {temperature: 0}")
        after = fleet(before=before)
        assert after.ring(new.targets[0].target) is ring

    @pytest.mark.parametrize("keys", ["k1, k3", "k2, k1", "k1, k2, k3"])
    def test_new_keys_inherit_no_refusal(self, keys):
        before = fleet()
        for key in range(2):
            before.ring(keyed().targets[0].target).refused(key, 0.0)
        ring = fleet(before=before).ring(keyed(keys).targets[0].target)
        assert len(ring) == keys.count("k")
        assert [ring.pick(1.0) for _ in range(len(ring))] == [*range(len(ring))]

    def test_a_ring_made_by_a_later_fleet_is_not_the_earlier_ones(self):
        before = fleet()
        ring = before.ring(keyed().targets[0].target)
        fleet(before=before).ring(keyed("k3, k4").targets[0].target)
        assert before.ring(keyed().targets[0].target) is ring

    def test_a_provider_with_one_key_has_no_ring(self):
        assert fleet().ring(route().targets[0].target) is None
