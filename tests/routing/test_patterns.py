"""Which route or target a name means where routes have patterns, and what is remembered of them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.routing.tables import fleet
from trio_router.config.file import parse_config
from trio_router.errors import InvalidRequest, ModelNotFound, NetworkError
from trio_router.routing import fleet as fleet_module
from trio_router.routing.circuit import CircuitState
from trio_router.routing.route import Route
from trio_router.routing.table import RouteTable

PROVIDERS = """
providers:
  any: {base_url: "http://any"}
  few: {base_url: "http://few", models: {gpt-4o: {}, gpt-4o-mini: {}, last: {}}}
"""
CLAUDE = '"claude-*": {targets: [{model: "any/claude-*"}, {model: few/last}]}'
LOST = NetworkError("lost")


def table(*routes: str, providers: str = PROVIDERS) -> RouteTable:
    return RouteTable(parse_config(f"{providers}\nroutes: {{{', '.join(routes)}}}", {}))


def names(found) -> tuple[str, list[str]]:
    assert isinstance(found, Route)
    return found.name, found.names


class TestWhatANameMeans:
    def test_the_star_carries_over_and_a_target_without_one_takes_all(self):
        found = table(CLAUDE).resolve("claude-sonnet-4-5")
        assert names(found) == ("claude-*", ["any/claude-sonnet-4-5", "few/last"])
        assert found.targets[0].target.upstream_model == "claude-sonnet-4-5"
        assert [t.is_made for t in found.targets] == [True, False]
        assert found.called == ["any/claude-*", "few/last"]

    @pytest.mark.parametrize(
        ("name", "route", "target"),
        [
            ("gpt-5", "gpt-5", "few/last"),  # exact
            ("gpt-4o-mini", "gpt-*-mini", "few/gpt-4o-mini"),  # the longest text beside the star
            ("gpt-4o", "gpt-*", "any/oai-4o"),
            ("gpt-", "gpt-*", "any/oai-"),
            ("meta/llama", "*", "any/meta/llama"),
            ("any/gpt-5", "", "any/gpt-5"),  # a plain provider/model is what it says
            ("few/last", "", "few/last"),
            ("few/gpt-5", "*", "any/few/gpt-5"),  # few has no such model
        ],
    )
    def test_the_most_specific_name_wins(self, name, route, target):
        routes = table(
            '"*": {targets: [{model: "any/*"}]}',
            '"gpt-*": {targets: [{model: "any/oai-*"}]}',
            '"gpt-*-mini": {targets: [{model: "few/gpt-*-mini"}]}',
            "gpt-5: {targets: [{model: few/last}]}",
        )
        found = routes.resolve(name)
        assert (found.name if route else "") == route
        assert (found.names[0] if isinstance(found, Route) else found.name) == target
        assert routes.first(name).name == target

    def test_a_target_that_has_no_such_model_is_left_out(self):
        routes = table('"gpt-*": {targets: [{model: "few/gpt-*"}, {model: "any/gpt-*"}]}')
        assert routes.resolve("gpt-4o").names == ["few/gpt-4o", "any/gpt-4o"]
        assert routes.resolve("gpt-9").names == ["any/gpt-9"]

    def test_a_pattern_none_of_whose_targets_has_the_model_gives_way(self):
        gpt, every = '"gpt-*": {targets: [{model: "few/gpt-*"}]}', '"*": {targets: [{model: "any/*"}]}'
        assert table(gpt, every).resolve("gpt-9").name == "*"
        with pytest.raises(ModelNotFound):
            table(gpt).resolve("gpt-9")

    def test_two_stars_that_come_to_one_target_ask_it_once(self):
        routes = table('"*": {targets: [{model: "few/*"}, {model: few/last}]}')
        assert routes.resolve("last").names == ["few/last"]

    def test_the_default_route_takes_every_unknown_name(self):
        routes = table(CLAUDE, "default: {targets: [{model: few/last}]}")
        for name in ("whatever", "no/such", "few/unknown", "default"):
            assert names(routes.resolve(name)) == ("default", ["few/last"])
        assert routes.resolve("claude-x").name == "claude-*"
        assert routes.resolve("any/x").name == "any/x"

    def test_without_a_default_unknown_names_are_unknown(self):
        for name in ("whatever", "claude", "no/such", ""):
            with pytest.raises(ModelNotFound):
                table(CLAUDE).resolve(name)

    @pytest.mark.parametrize("name", ["claude-*", "claude-a*b"])
    def test_a_pattern_cannot_be_asked_for_itself(self, name):
        with pytest.raises(ModelNotFound, match="is a pattern"):
            table(CLAUDE, "default: {targets: [{model: few/last}]}").resolve(name)

    @pytest.mark.parametrize("name", ["claude-\n", "claude-\u202e", "claude-/../x", "claude-//x"])
    def test_a_bad_name_is_bad_whatever_it_matches(self, name):
        with pytest.raises(InvalidRequest):
            table(CLAUDE).resolve(name)
        with pytest.raises(InvalidRequest):
            table("default: {targets: [{model: few/last}]}").resolve(name)

    def test_a_name_without_end_is_refused(self):
        with pytest.raises(ModelNotFound, match="letters"):
            table(CLAUDE, "default: {targets: [{model: few/last}]}").resolve("claude-" + "x" * 600)

    def test_a_star_that_would_climb_is_a_bad_name(self):
        with pytest.raises(InvalidRequest):
            table('"claude*": {targets: [{model: "any/*"}]}').resolve("claude/x")

    @given(st.text(max_size=30))
    def test_every_name_has_a_meaning_or_a_clear_error(self, name):
        routes = table(CLAUDE, '"*-x": {targets: [{model: "any/y-*"}]}')
        try:
            found = routes.resolve(name)
        except (ModelNotFound, InvalidRequest):
            return
        assert isinstance(found, Route)
        assert routes.pattern_of(name).name == found.name

    def test_a_pattern_of_a_provider_that_is_not_there_yet_waits(self):
        demo = "server: {demo: true}\n" + PROVIDERS
        routes = table('"d-*": {targets: [{model: "demo/*"}]}', providers=demo)
        with pytest.raises(ModelNotFound):
            routes.resolve("d-echo")


class TestWhatIsRemembered:
    def down(self, known, route, times: int = 3) -> None:
        for _ in range(times):
            visit = known.visit(route, route.targets[0], 0.0)
            visit.failed(LOST, 0.0)
            visit.leave(0.0)

    def state(self, known, route) -> CircuitState:
        return known.state(route.targets[0]).circuit(route.policy.cooldown).state(0.0)

    def test_each_made_target_has_a_circuit_of_its_own(self):
        routes = table(CLAUDE)
        known = fleet(*routes.standing())
        one, other = routes.resolve("claude-a"), routes.resolve("claude-b")
        self.down(known, one)
        assert self.state(known, one) is CircuitState.OPEN
        assert self.state(known, routes.resolve("claude-a")) is CircuitState.OPEN
        assert self.state(known, other) is CircuitState.CLOSED
        assert known.states_of_patterns(0.0) == {("any", "claude-*"): CircuitState.OPEN}

    def test_names_without_end_take_no_memory_without_end(self):
        routes = table(
            CLAUDE.replace("few/last}]", "few/last}], strategy: round_robin"),
            "default: {targets: [{model: few/last}]}",
        )
        known = fleet(*routes.standing())
        for number in range(3000):
            route = routes.resolve(f"claude-{number}")
            known.order(route, 0.0, lambda: 0.5)
            known.visit(route, route.targets[0], 0.0).leave(0.0)
            routes.resolve(f"unknown-{number}")
        assert len(list(known.made())) <= 500
        assert len(routes._matched) <= 1000
        assert len(routes._passed) <= 1000
        assert len(known.route(route).turns._credit) == 2
        assert known.shown() == {"any/claude-*", "few/last"}

    def test_who_was_asked_last_is_remembered_longest(self, monkeypatch):
        monkeypatch.setattr(fleet_module, "_MOST_MADE", 2)
        routes = table(CLAUDE)
        known = fleet(*routes.standing())
        first = routes.resolve("claude-1")
        self.down(known, first)
        for number in range(2, 6):
            known.state(routes.resolve(f"claude-{number}").targets[0])
            assert self.state(known, first) is CircuitState.OPEN
        assert [target.name for target, _ in known.made()] == ["any/claude-5", "any/claude-1"]

    def test_a_new_configuration_keeps_what_is_known_of_an_unchanged_target(self):
        before = fleet(*(old := table(CLAUDE)).standing())
        self.down(before, old.resolve("claude-a"))
        new = table(CLAUDE.replace("few/last", "few/gpt-4o"))
        after = fleet(*new.standing(), before=before)
        assert self.state(after, new.resolve("claude-a")) is CircuitState.OPEN

    def test_a_target_that_is_asked_elsewhere_starts_afresh(self):
        before = fleet(*(old := table(CLAUDE)).standing())
        self.down(before, old.resolve("claude-a"))
        new = table(CLAUDE, providers=PROVIDERS.replace("http://any", "http://else"))
        after = fleet(*new.standing(), before=before)
        assert self.state(after, new.resolve("claude-a")) is CircuitState.CLOSED
        assert self.state(before, old.resolve("claude-a")) is CircuitState.OPEN

    def test_a_target_that_gets_a_route_of_its_own_keeps_its_state(self):
        before = fleet(*(old := table(CLAUDE)).standing())
        self.down(before, old.resolve("claude-a"))
        new = table(CLAUDE, "mine: {targets: [{model: any/claude-a}]}")
        after = fleet(*new.standing(), before=before)
        assert self.state(after, new.resolve("mine")) is CircuitState.OPEN

    def test_circuits_of_policies_that_are_gone_are_dropped(self):
        before = fleet(*(old := table(CLAUDE)).standing())
        self.down(before, old.resolve("claude-a"))
        new = table(CLAUDE.replace("few/last}]", "few/last}], cooldown: {failures: 9}"))
        after = fleet(*new.standing(), before=before)
        after.settle()
        assert after.states_of_patterns(0.0) == {("any", "claude-*"): CircuitState.CLOSED}

    def test_a_pattern_has_one_turn_for_all_its_names(self):
        routes = table(CLAUDE.replace("few/last}]", "few/last}], strategy: round_robin"))
        known = fleet(*routes.standing())
        first = [
            known.order(routes.resolve(f"claude-{n}"), 0.0, lambda: 0.5)[0].called for n in range(4)
        ]
        assert first == ["any/claude-*", "few/last"] * 2
