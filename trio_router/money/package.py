"""Prices of the package `model-prices`: data that it holds, nothing is fetched.

Each price has a history, and some depend on the time of day, so a price is asked for at a time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trio_router.money.price import Price, Rates, of_dollars

if TYPE_CHECKING:
    from types import ModuleType

# The package drops endings to find a related name; a date is the only one that changes no price.
_DATE = re.compile(r"-\d{4}(?:-\d{2}-\d{2}|\d{4})?")
# The package has no fees of tools.  Anthropic's list: $10 for a thousand web searches.
_SEARCH = {"anthropic": 10_000_000}  # nano-dollars each


def load() -> None:
    """Reads the data, which takes a good part of a second: not to be called on the event loop."""
    _package().pricing_basis()


def price_of(seller: str, model: str, at: float) -> Price | None:
    """The price of `model` at the Unix time `at`; None if the package knows none."""
    package = _package()
    found = package.rates(model, at=datetime.fromtimestamp(at, UTC), provider=seller)
    if found is None or found.provider != seller:
        return None
    if found.removed_suffix and not _DATE.fullmatch(found.removed_suffix):
        return None
    rates = _rates(found, found)
    above = tuple((tier.above, _rates(tier, found)) for tier in sorted(found.tiers, key=_above))
    return Price(rates, package.pricing_basis(), above, search=_SEARCH.get(seller, 0))


def _rates(of: Any, base: Any) -> Rates:
    """The rates in `of`; what it leaves open is as in `base`."""

    def told(name: str, otherwise: int) -> int:
        value = getattr(of, name)
        value = getattr(base, name) if value is None else value
        return otherwise if value is None else of_dollars(Decimal(repr(value)))

    into, out = told("input", 0), told("output", 0)
    written = told("cache_write", into)
    many = base.cache_write_1h_multiple
    hour = written if many is None else round(into * Decimal(repr(many)))
    return Rates(into, out, told("cache_read", into), written, hour, into, out, out)


def _above(tier: Any) -> int:
    limit: int = tier.above
    return limit


def _package() -> ModuleType:
    return import_module("model_prices")


FREE = Price(Rates(0, 0, 0, 0, 0, 0, 0, 0), "local")
