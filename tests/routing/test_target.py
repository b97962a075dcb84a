"""When two configurations' targets are the same to the upstream: only then is anything remembered."""

from __future__ import annotations

import pytest

from tests.routing.tables import table
from trio_router.routing.target import deep_merged

PLAIN = {"base_url": '"http://a"', "api_key": "sk-one"}
MODEL = "upstream_model: m"


def target(model: str = MODEL, **provider: str):
    fields = ", ".join(f"{name}: {value}" for name, value in {**PLAIN, **provider}.items())
    return table(providers=f"providers:\n  a: {{{fields}, models: {{x: {{{model}}}}}}}\n").target("a/x")


@pytest.mark.parametrize(
    "changed",
    [
        {"timeouts": "{read: 7}"},
        {"max_in_flight": "3"},
        {"drop_unsupported": "true"},
        {"model": f"{MODEL}, options: {{temperature: 0}}"},
        {"model": f"{MODEL}, defaults: {{temperature: 0}}"},
    ],
    ids=str,
)
def test_what_only_the_router_heeds_does_not_make_another_target(changed):
    assert target().is_asked_like(target(**changed))
    assert target(**changed).is_asked_like(target())


@pytest.mark.parametrize(
    "changed",
    [
        {"base_url": '"http://b"'},
        {"base_url": '"http://a/v2"'},
        {"api_key": "sk-two"},
        {"headers": "{x-team: one}"},
        {"query": "{version: one}"},
        {"dialect": "ollama"},
        {"model": "upstream_model: other"},
    ],
    ids=str,
)
def test_another_place_key_dialect_or_model_makes_another_target(changed):
    assert not target().is_asked_like(target(**changed))
    assert not target(**changed).is_asked_like(target())


def test_new_timeouts_and_no_native_api_reach_the_target_of_each_key():
    several = table(
        providers='providers:\n  a: {base_url: "http://a", api_keys: [k1, k2], models: {x: {}}}\n'
    ).target("a/x")
    changed = several.with_timeouts(several.timeouts.model_copy(update={"read": 7.0})).without_native()
    assert [(one.timeouts.read, one.native) for one in (changed, *changed.keyed)] == [(7.0, {})] * 3
    assert [one.headers for one in changed.keyed] == [one.headers for one in several.keyed]
    assert several.timeouts.read != 7.0


def test_a_request_gets_the_configurations_word_under_and_over_it():
    asked = target(f"{MODEL}, defaults: {{a: 1, b: {{c: 1}}}}, options: {{d: {{e: 2}}, stream: true}}")
    body = asked.body_for({"model": "a/x", "b": 3, "d": {"e": 1, "f": 1}})
    assert body == {"model": "m", "a": 1, "b": 3, "d": {"e": 2, "f": 1}}
    assert asked.body_for({"stream": False})["stream"] is False


def test_merging_leaves_what_was_merged_as_it_was():
    under, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert deep_merged(under, over) == {"a": {"b": 1, "c": 2}}
    assert (under, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})
