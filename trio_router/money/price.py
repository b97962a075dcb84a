"""A model's price, and what a usage costs at it.  Pure integers: nothing is lost on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from trio_router.dialects.usage import Usage

_NANO = 1_000_000_000
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars for a million tokens of each kind."""

    input: int
    output: int
    cached: int
    written: int
    written_1h: int
    audio_in: int
    audio_out: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs.  `source` says where the price is from, with its version."""

    rates: Rates
    source: str
    above: tuple[tuple[int, Rates], ...] = ()  # rates of prompts of more than so many tokens, rising
    image: int = 0  # nano-dollars for a picture that is made
    search: int = 0  # nano-dollars for a search
    request: int = 0  # nano-dollars for each request
    is_told: bool = False  # the provider tells in each answer what it costs

    def cost(self, usage: Usage) -> int | None:
        """Nano-dollars, rounded half to even once; None if the provider was to tell it and did not."""
        if self.is_told:
            return usage.told_cost
        asked = usage.input or 0
        rates = self.rates
        for limit, higher in self.above:
            if asked > limit:
                rates = higher
        return _rounded(_asked(usage, rates, asked) + _said(usage, rates)) + (
            self.request + self.image * (usage.images or 0) + self.search * (usage.searches or 0)
        )


def _asked(usage: Usage, rates: Rates, asked: int) -> int:
    """The prompt, in nano-dollars times a million.  No part of it counts twice, whatever was told."""
    rest, total = asked, 0
    for part, rate in (
        (usage.cached, rates.cached),
        (usage.written_1h, rates.written_1h),
        (usage.written, rates.written),
        (usage.audio_in, rates.audio_in),
    ):
        if part:
            part = min(part, rest)
            rest -= part
            total += part * rate
    return total + rest * rates.input


def _said(usage: Usage, rates: Rates) -> int:
    rest, total = usage.output or 0, 0
    for part, rate in ((usage.audio_out, rates.audio_out), (usage.reasoning, rates.reasoning)):
        if part:
            part = min(part, rest)
            rest -= part
            total += part * rate
    return total + rest * rates.output


def _rounded(millionths: int) -> int:
    whole, rest = divmod(millionths, _MILLION)
    return whole + (2 * rest > _MILLION or (2 * rest == _MILLION and whole % 2))


def of_dollars(amount: Decimal) -> int:
    """Dollars as nano-dollars; what is below one of them is rounded half to even."""
    return round(amount * _NANO)


def dollars(nanos: int) -> float:
    """Nano-dollars as dollars: near enough that rounding gives the same nano-dollars again."""
    return nanos / _NANO


def plain(nanos: int) -> str:
    """Nano-dollars as dollars in plain decimal digits, exactly: `0.00125`."""
    whole, rest = divmod(nanos, _NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
