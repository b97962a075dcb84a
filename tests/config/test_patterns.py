"""Names with one star: what they match, which is the more specific, what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.config.complaints import complaints
from trio_router.config.file import parse_config
from trio_router.config.patterns import Pattern

PROVIDERS = """\
providers:
  a: {base_url: "http://x"}
  b: {base_url: "http://x", models: {gpt-4o: {}, other: {}}}
"""
TEXT = st.text("ab-/", max_size=4)
PATTERNS = st.builds(Pattern, TEXT, TEXT)


@pytest.mark.parametrize(
    ("pattern", "name", "star"),
    [
        ("claude-*", "claude-sonnet-4-5", "sonnet-4-5"),
        ("claude-*", "claude-", ""),
        ("claude-*", "claude", None),
        ("claude-*", "Claude-x", None),
        ("claude-*", "my-claude-x", None),
        ("*-mini", "gpt-4o-mini", "gpt-4o"),
        ("*-mini", "mini", None),
        ("gpt-*-mini", "gpt-4o-mini", "4o"),
        ("gpt-*-mini", "gpt-mini", None),  # its two parts may not share the dash
        ("gpt-*-mini", "gpt--mini", ""),
        ("*", "openai/gpt-4o", "openai/gpt-4o"),
        ("x.*", "xyz", None),  # a dot is a dot
        ("a[b]*", "a[b]c", "c"),
    ],
)
def test_a_star_stands_for_any_text(pattern, name, star):
    assert Pattern.of(pattern).star(name) == star


@pytest.mark.parametrize("text", ["", "plain", "**", "a*b*"])
def test_a_pattern_has_one_star(text):
    assert Pattern.of(text) is None


@given(PATTERNS, st.text(max_size=5))
def test_what_the_star_is_filled_with_comes_back(pattern, star):
    assert pattern.star(pattern.filled(star)) == star


@st.composite
def matches(draw) -> tuple[str, Pattern, Pattern]:
    """A name, and two patterns that match it."""
    name = draw(st.text("ab-/", max_size=8))
    cuts = [sorted(draw(st.lists(st.integers(0, len(name)), min_size=2, max_size=2))) for _ in "12"]
    one, other = (Pattern(name[:begin], name[end:]) for begin, end in cuts)
    return name, one, other


@given(matches())
def test_of_two_patterns_that_match_a_name_one_is_more_specific(found):
    _, one, other = found
    assert one == other or one.specificity != other.specificity


@given(matches())
def test_patterns_that_match_one_name_are_known_to_meet(found):
    name, one, other = found
    assert None not in (one.star(name), other.star(name))
    assert one.meets(other) is not None


@given(PATTERNS, PATTERNS)
def test_patterns_meet_where_both_match(one, other):
    both = one.meets(other)
    assert both == other.meets(one)
    if both is not None:
        assert one.star(both.filled("-")) is not None
        assert other.star(both.filled("-")) is not None


def of_routes(text: str) -> list[str]:
    return [c.removeprefix("router.yaml:") for c in complaints(f"{PROVIDERS}routes:\n{text}")]


@pytest.mark.parametrize(
    ("route", "place", "words"),
    [
        ('plain: {targets: [{model: "a/claude-*"}]}', "plain.targets.0.model", "plain has none"),
        ('default: {targets: [{model: "a/*"}]}', "default.targets.0.model", "name the route '*'"),
        ('"a*b*": {targets: [{model: a/x}]}', "a*b*", "a name may have one star"),
        ('"**": {targets: [{model: a/x}]}', "**", "a name may have one star"),
        ('"x-*": {targets: [{model: "a/*-*"}]}', "x-*.targets.0.model", "may have one star"),
        ('"x-*": {targets: [{model: "*/x"}]}', "x-*.targets.0.model", "not in the provider"),
        ('"x-*": {targets: [{model: "c/x-*"}]}', "x-*.targets.0.model", "there is no model c/x-*"),
        ('"x-*": {targets: [{model: "b/x-*"}]}', "x-*.targets.0.model", "no model of b is x-*"),
        ('"x-*": {targets: [{model: "a/*"}, {model: "a/*"}]}', "x-*.targets.1.model", "already"),
        ('"a/*": {targets: [{model: "a/x*"}]}', "a/*", "pattern"),
    ],
)
def test_a_star_in_the_wrong_place_is_a_complaint(route, place, words):
    (found,) = of_routes(f"  {route}\n")
    assert found.startswith(f"5: routes.{place}:")
    assert words in found


def test_a_default_that_no_name_is_left_for_is_a_complaint():
    both = '  "*": {targets: [{model: "a/*"}]}\n  default: {targets: [{model: a/x}]}\n'
    (found,) = of_routes(both)
    assert found.startswith("6: routes.default:")
    assert "takes every name" in found


def test_patterns_that_tell_one_name_two_ways_are_a_complaint():
    both = '  "gpt-*": {targets: [{model: a/x}]}\n  "*-pro": {targets: [{model: a/x}]}\n'
    (found,) = of_routes(both)
    assert found.startswith("6: routes.*-pro:")
    assert "'gpt-x-pro'" in found
    assert "add a route 'gpt-*-pro'" in found
    said = both + '  "gpt-*-pro": {targets: [{model: a/x}]}\n'
    assert "gpt-*-pro" in parse_config(f"{PROVIDERS}routes:\n{said}", {}).routes


def test_patterns_of_one_length_that_never_meet_are_good():
    both = '  "gpt-*": {targets: [{model: "b/gpt-*"}]}\n  "abc-*": {targets: [{model: a/x}]}\n'
    assert len(parse_config(f"{PROVIDERS}routes:\n{both}", {}).routes) == 2
