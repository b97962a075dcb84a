"""What tokens cost: prices, where they come from, and what a usage comes to.

Money is counted in nano-dollars, as integers.
"""

from trio_router.money.book import NO_PRICES, PriceBook
from trio_router.money.price import Price, dollars, of_dollars, plain

__all__ = ["NO_PRICES", "Price", "PriceBook", "dollars", "of_dollars", "plain"]
