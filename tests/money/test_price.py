"""Costs are exact integers: nothing is lost, counted twice or negative."""

from __future__ import annotations

from dataclasses import astuple
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from trio_router.dialects.usage import Usage
from trio_router.money.price import Price, Rates, dollars, of_dollars, plain

COUNT = st.none() | st.integers(0, 10**7)
RATES = st.builds(Rates, *[st.integers(0, 10**12)] * 8)
PARTS = ("cached", "written_1h", "written", "audio_in")


@st.composite
def consistent(draw):
    """A usage whose parts are no more than the whole."""
    parts = {
        name: draw(st.none() | st.integers(0, 10**6)) for name in (*PARTS, "reasoning", "audio_out")
    }
    asked = sum(parts[name] or 0 for name in PARTS) + draw(st.integers(0, 10**6))
    said = (parts["reasoning"] or 0) + (parts["audio_out"] or 0) + draw(st.integers(0, 10**6))
    return Usage(asked, said, **parts, searches=draw(COUNT), images=draw(COUNT))


def exact(rates: Rates, usage: Usage) -> Fraction:
    rest = Fraction(usage.input) - sum(getattr(usage, name) or 0 for name in PARTS)
    total = rest * rates.input + sum((getattr(usage, n) or 0) * getattr(rates, n) for n in PARTS)
    spoken, thought = usage.audio_out or 0, usage.reasoning or 0
    total += (usage.output - spoken - thought) * rates.output
    total += spoken * rates.audio_out + thought * rates.reasoning
    return total / 10**6


@given(RATES, consistent(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_the_exact_fraction_rounded_once(rates, usage, image, search):
    price = Price(rates, "test", image=image, search=search, request=7)
    fees = 7 + image * (usage.images or 0) + search * (usage.searches or 0)
    assert price.cost(usage) == round(exact(rates, usage) + fees)


@given(RATES, st.builds(Usage, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT))
def test_whatever_was_told_no_cost_is_negative_or_above_the_dearest_rate(rates, usage):
    cost = Price(rates, "test").cost(usage)
    most = max(astuple(rates))
    assert 0 <= cost <= ((usage.input or 0) + (usage.output or 0)) * most // 10**6 + 1


@given(
    st.builds(Rates, *[st.integers(0, 10**6).map(lambda n: n * 10**6)] * 8), consistent(), consistent()
)
def test_costs_add_up(rates, one, other):
    price = Price(rates, "test", search=5)
    assert price.cost(one + other) == price.cost(one) + price.cost(other)


@given(st.integers(0, 10**15))
def test_dollars_are_shown_exactly(nanos):
    assert of_dollars(Decimal(plain(nanos))) == nanos == round(dollars(nanos) * 10**9)
    assert "e" not in plain(nanos).lower()


@pytest.mark.parametrize(
    ("nanos", "text"), [(0, "0"), (1, "0.000000001"), (1_250_000, "0.00125"), (20_000_000_000, "20")]
)
def test_plain_digits(nanos, text):
    assert plain(nanos) == text


def test_a_long_prompt_costs_as_its_length_says():
    low, high = Rates(*[10**9] * 8), Rates(*[2 * 10**9] * 8)
    price = Price(low, "test", above=((100, high),))
    assert price.cost(Usage(100, 0)) == 100_000
    assert price.cost(Usage(101, 0)) == 202_000


def test_a_provider_that_tells_its_price_is_believed_and_its_silence_is_no_zero():
    price = Price(Rates(*[0] * 8), "test", is_told=True)
    assert price.cost(Usage(1, 1, told_cost=42)) == 42
    assert price.cost(Usage(1, 1)) is None


def test_half_a_nano_dollar_goes_to_the_even_one():
    price = Price(Rates(*[500_000] * 8), "test")
    assert [price.cost(Usage(tokens, 0)) for tokens in range(6)] == [0, 0, 1, 2, 2, 2]
