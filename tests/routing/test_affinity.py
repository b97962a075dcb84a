"""Conversations and their targets and keys: who goes where, and who moves when targets come and go."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from tests.routing.tables import fleet, route, table
from trio_router.config.file import parse_config
from trio_router.errors import NetworkError, ProviderAuthError, UpstreamStatus
from trio_router.routing.affinity import Affinity, Place, StoredResponses
from trio_router.routing.keys import KeyRing
from trio_router.routing.plan import Plan
from trio_router.routing.retry import Verdict, is_blamed, verdict

SPREADING = ["weighted", "round_robin", "least_in_flight", "lowest_latency"]
LOST = NetworkError("lost")
MANY = 1000  # conversations


def providers(count: int) -> str:
    lines = "\n".join(f'  p{n}: {{base_url: "http://p{n}", models: {{m: {{}}}}}}' for n in range(count))
    return f"providers:\n{lines}\n"


def spread(count: int, strategy: str = "round_robin", more: str = "", weights=()):
    """A route over `count` targets."""
    weighted = [*weights, *[1] * (count - len(weights))]
    targets = ", ".join(f"{{model: p{n}/m, weight: {weight}}}" for n, weight in enumerate(weighted))
    return route(f"targets: [{targets}], strategy: {strategy}{more}", providers(count))


def conversation(number: int) -> Affinity:
    return Affinity(f"opening:{number}")


def first(known, on, affinity: Affinity, now: float = 0.0) -> str:
    """The target that the plan begins with."""
    plan = Plan(on, known.order(on, now, lambda: 0.5, affinity), known)
    return plan.next(now).target.name


def placed(known, on, now: float = 0.0) -> list[str]:
    return [first(known, on, conversation(number), now) for number in range(MANY)]


def moved(before: list[str], after: list[str]) -> float:
    return sum(one != other for one, other in zip(before, after, strict=True)) / len(before)


def break_down(known, on, name: str, now: float) -> None:
    target = next(target for target in on.targets if target.name == name)
    for _ in range(3):
        visit = known.visit(on, target, now)
        visit.failed(LOST, now)
        visit.leave(now)


class TestStrategies:
    @pytest.mark.parametrize("strategy", SPREADING)
    def test_a_conversation_keeps_its_target_whatever_the_others_do(self, strategy):
        on = spread(4, strategy)
        known = fleet(on)
        for number in range(50):
            mine = first(known, on, conversation(number))
            for other in range(5):
                where = known.order(on, float(other), lambda: 0.9, conversation(100 * number + other))
                visit = known.visit(on, where[0], float(other))
                visit.answered(float(other) + 3)
            assert first(known, on, conversation(number), 9.0) == mine

    @pytest.mark.parametrize("strategy", SPREADING)
    def test_every_router_with_the_configuration_chooses_alike(self, strategy):
        one, other = spread(4, strategy), spread(4, strategy)
        dice = iter([0.1, 0.9] * 100)
        orders = [
            [t.name for t in fleet(on).order(on, now, roll, Affinity("session:x"))]
            for on, now, roll in ((one, 0.0, lambda: 0.5), (other, 99.0, lambda: next(dice)))
        ]
        assert orders[0] == orders[1]

    def test_where_conversations_go_never_changes_from_one_version_to_the_next(self):
        on = spread(4)
        assert [first(fleet(on), on, conversation(n)) for n in range(8)] == PINNED

    @pytest.mark.parametrize("strategy", SPREADING)
    def test_conversations_spread_by_weight(self, strategy):
        on = spread(3, strategy, weights=[5, 3, 2])
        share = Counter(placed(fleet(on), on))
        assert [share[f"p{n}/m"] / MANY for n in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.05)

    def test_an_order_of_preference_stays_one(self):
        on = spread(3, "fallback")
        known = fleet(on)
        assert set(placed(known, on)) == {"p0/m"}
        break_down(known, on, "p0/m", 0.0)
        assert set(placed(known, on, 1.0)) == {"p1/m"}
        assert set(placed(known, on, 11.0)) == {"p0/m"}

    def test_who_says_so_has_the_strategy_alone(self):
        on = spread(2, "round_robin", ", affinity: off")
        assert not on.has_affinity
        known = fleet(on)
        assert [known.order(on, 0.0, lambda: 0.5)[0].name for _ in range(4)] == ["p0/m", "p1/m"] * 2

    def test_a_route_of_one_target_and_one_key_has_no_use_for_it(self):
        assert not spread(1).has_affinity
        assert spread(2, "fallback").has_affinity
        keyed = table(
            providers="providers: {a: {base_url: 'http://a', api_keys: [k, l], models: {x: }}}"
        )
        assert keyed.resolve("a/x").has_affinity

    def test_conversations_are_looked_at_only_where_they_are_parted(self):
        assert not spread(2, "fallback").parts_conversations
        assert all(spread(2, strategy).parts_conversations for strategy in SPREADING)
        keyed = table(providers=KEYED % "k1, k2")
        assert keyed.resolve("a/x").parts_conversations

    def test_off_is_a_word_as_yaml_reads_it(self):
        for said, meant in (("off", "off"), ('"off"', "off"), ("auto", "auto")):
            assert spread(2, more=f", affinity: {said}").policy.affinity == meant
        with pytest.raises(Exception, match="affinity"):
            spread(2, more=", affinity: on")

    def test_the_routes_own_sticky_counts_more(self):
        on = spread(4, "fallback", ", sticky: user")
        known = fleet(on)
        anna = {first(known, on, Affinity(f"opening:{n}", "anna")) for n in range(20)}
        assert len(anna) == 1
        assert len({first(known, on, Affinity("opening:1", str(who))) for who in range(20)}) > 1


PINNED = ["p3/m", "p0/m", "p3/m", "p1/m", "p3/m", "p3/m", "p2/m", "p1/m"]


class TestTargetsThatComeAndGo:
    @pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
    @pytest.mark.parametrize("strategy", SPREADING)
    def test_a_new_target_takes_its_share_and_no_more(self, count, strategy):
        few, more = spread(count, strategy), spread(count + 1, strategy)
        before, after = placed(fleet(few), few), placed(fleet(more), more)
        assert moved(before, after) <= 1 / (count + 1) + 0.05
        assert {new for old, new in zip(before, after, strict=True) if old != new} == {f"p{count}/m"}

    @pytest.mark.parametrize("strategy", SPREADING)
    def test_a_target_that_rests_is_passed_over_and_returned_to(self, strategy):
        on = spread(4, strategy)
        known = fleet(on)
        before = placed(known, on)
        break_down(known, on, "p1/m", 0.0)
        during = placed(known, on, 1.0)
        assert "p1/m" not in during
        assert moved(before, during) <= 1 / 4 + 0.05
        assert all(old == "p1/m" for old, new in zip(before, during, strict=True) if old != new)
        assert len({new for old, new in zip(before, during, strict=True) if old != new}) == 3
        assert placed(known, on, 2.0) == during
        assert placed(known, on, 20.0) == before

    @given(st.lists(st.sampled_from(range(6)), min_size=1, max_size=12), st.sampled_from(SPREADING))
    @settings(max_examples=30)
    def test_no_conversation_leaves_a_healthy_target_that_it_prefers(self, failures, strategy):
        """Targets fail one after another, and come back; each conversation is always with the first of
        its own order that is healthy."""
        on = spread(6, strategy)
        known, now = fleet(on), 0.0
        orders = {
            n: [t.name for t in known.order(on, now, lambda: 0.5, conversation(n))] for n in range(20)
        }
        for which in failures:
            now += 3.0
            break_down(known, on, f"p{which}/m", now)
            healthy = {
                target.name
                for target in on.targets
                if known.state(target).circuit(on.policy.cooldown).may_ask(now)
            }
            for number, order in orders.items():
                if healthy:
                    wanted = next(name for name in order if name in healthy)
                    assert first(known, on, conversation(number), now) == wanted

    @given(st.sets(st.integers(0, 9), min_size=1), st.sets(st.integers(0, 9), min_size=1), st.text())
    def test_only_who_gains_or_loses_a_target_moves(self, old, new, who):
        def target_of(numbers: set[int]) -> str:
            models = ", ".join(f"{{model: p{n}/m}}" for n in sorted(numbers))
            on = route(f"targets: [{models}], strategy: weighted", providers(10))
            return fleet(on).order(on, 0.0, lambda: 0.5, Affinity(f"key:{who}"))[0].name

        before, after = target_of(old), target_of(new)
        if before != after:
            assert before not in {f"p{n}/m" for n in new} or after in {f"p{n}/m" for n in new - old}


KEYED = """
providers:
  a: {base_url: "http://a", api_keys: [%s], models: {x: {}}}
"""
BUSY = UpstreamStatus("busy", status=429)


class TestKeys:
    def keyed(self, keys: str):
        return table(providers=KEYED % keys).resolve("a/x")

    def used(self, known, on, affinity: Affinity, now: float = 0.0) -> str:
        visit = known.visit(on, on.targets[0], now, affinity)
        visit.leave(now)
        return on.targets[0].target.keyed[visit.key].headers["authorization"]

    def test_a_conversation_keeps_its_key(self):
        on = self.keyed("k1, k2, k3")
        known = fleet()
        once = [self.used(known, on, conversation(n)) for n in range(300)]
        assert [self.used(known, on, conversation(n), 5.0) for n in range(300)] == once
        assert min(Counter(once).values()) > 60

    def test_a_new_key_takes_its_share_and_no_more_wherever_it_stands(self):
        before = [self.used(fleet(), self.keyed("k1, k2"), conversation(n)) for n in range(300)]
        after = [self.used(fleet(), self.keyed("k3, k2, k1"), conversation(n)) for n in range(300)]
        assert moved(before, after) <= 1 / 3 + 0.05
        assert {new for old, new in zip(before, after, strict=True) if old != new} == {"Bearer k3"}

    @pytest.mark.parametrize("error", [BUSY, ProviderAuthError("no")])
    def test_a_key_that_fails_is_passed_over_and_returned_to(self, error):
        on = self.keyed("k1, k2, k3")
        known = fleet()
        target = on.targets[0]
        for number in range(30):
            affinity = conversation(number)
            mine = self.used(known, on, affinity, 5000.0 * number)
            plan = Plan(on, [target], known)
            now = 5000.0 * number
            assert plan.next(now).target is target
            assert plan.may_begin(target, now)
            visit = known.visit(on, target, now, affinity)
            visit.failed(error, now)
            visit.leave(now)
            plan.failed(target, error, now, key=visit.key, wall=0.0, random=lambda: 0.5)
            assert plan.next(now).delay == 0
            other = self.used(known, on, affinity, now)
            assert other != mine
            assert self.used(known, on, affinity, now + 0.5) == other
            assert self.used(known, on, affinity, now + 2000.0) == mine

    def test_requests_of_no_conversation_take_turns_among_themselves(self):
        ring = KeyRing(["one", "two", "three"])
        seen = []
        for number in range(6):
            ring.pick(0.0, f"opening:{number}")
            seen.append(ring.pick(0.0))
        assert seen == [0, 1, 2] * 2

    def test_the_names_of_keys_do_not_tell_the_keys(self):
        on = self.keyed("k-secret-1, k-secret-2")
        names = fleet().ring(on.targets[0].target).names
        assert len(set(names)) == 2
        assert not [name for name in names if "secret" in name]


class TestStoredResponses:
    @pytest.mark.parametrize("strategy", [*SPREADING, "fallback"])
    def test_who_goes_on_from_a_response_goes_to_who_has_it(self, strategy):
        on = spread(4, strategy)
        known = fleet(on)
        known.has_stored("resp_1", on.targets[3], 0)
        for number in range(20):
            asks = Affinity(f"opening:{number}", continues="resp_1")
            order = known.order(on, 0.0, lambda: 0.5, asks)
            assert order[0].name == "p3/m"
            assert len(order) == 4
        break_down(known, on, "p3/m", 0.0)
        assert first(known, on, asks, 1.0) != "p3/m"
        assert first(known, on, asks, 11.0) == "p3/m"

    def test_an_unknown_response_leaves_the_order_as_it_is(self):
        on = spread(4)
        known = fleet(on)
        one, other = conversation(1), Affinity("opening:1", continues="resp_unknown")
        orders = [[t.name for t in known.order(on, 0.0, lambda: 0.5, asks)] for asks in (one, other)]
        assert orders[0] == orders[1]

    def test_it_is_asked_for_with_the_key_that_it_was_made_with(self):
        on = table(providers=KEYED % "k1, k2, k3").resolve("a/x")
        known = fleet()
        target = on.targets[0]
        for key in range(3):
            known.has_stored(f"resp_{key}", target, key)
        for key in range(3):
            for number in range(9):
                asks = Affinity(f"opening:{number}", continues=f"resp_{key}")
                assert known.visit(on, target, 0.0, asks).key == key
                assert known.visit(on, target, 0.0, Affinity(continues=f"resp_{key}")).key == key

    def test_a_new_configuration_still_knows_it(self):
        old = spread(3)
        before = fleet(old)
        before.has_stored("resp_1", old.targets[2], 0)
        new = spread(4)
        after = fleet(new, before=before)
        assert first(after, new, Affinity("opening:1", continues="resp_1")) == "p2/m"

    def test_the_latest_are_remembered_and_no_more(self):
        stored = StoredResponses()
        for number in range(10_500):
            stored.add(f"resp_{number}", Place("a/x", None))
            stored.add("resp_0", Place("a/x", None))
        assert len(stored) == 10_000
        assert stored.find("resp_0") is not None
        assert stored.find("resp_100") is None
        assert stored.find(None) is None

    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (400, "previous_response_not_found", "Previous response with id 'resp_1' not found."),
            (404, "previous_response_not_found", "Previous response with id 'resp_1' not found."),
            (400, "invalid_encrypted_content", "The encrypted content could not be verified."),
            (
                400,
                "invalid_request_error",
                "messages.1.content.0: Invalid `signature` in `thinking` block",
            ),
            (400, "INVALID_ARGUMENT", "Thought signature is not valid"),
        ],
    )
    def test_a_target_that_did_not_make_it_is_not_to_blame_and_another_is_asked(
        self, status, code, message
    ):
        error = UpstreamStatus(message, status=status)
        error.reason = code
        assert verdict(error) is Verdict.NEXT
        assert not is_blamed(error)

    def test_a_failure_that_only_quotes_it_is_the_targets_own(self):
        error = UpstreamStatus("previous_response_not_found", status=503)
        assert verdict(error) is Verdict.AGAIN
        assert is_blamed(error)


def test_the_configurations_word_is_told_by_check_too():
    config = parse_config(
        f"{providers(2)}routes: {{r: {{targets: [{{model: p0/m}}], affinity: off}}}}", {}
    )
    assert config.routes["r"].affinity == "off"
