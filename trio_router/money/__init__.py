"""What tokens cost: prices, where they come from, and what a usage comes to.

`Usage` (in `dialects`) -> `PriceBook.of(target, at)` -> `Price.cost(usage)` -> nano-dollars.

Money is counted in nano-dollars, as integers; it is rounded once, for each attempt.  A price is looked
up once for each target and kept in the configuration's generation, so a new configuration has new
prices.  A price that nobody knows is None, never zero.  The room fetches nothing.  It may not know
requests, upstreams or clients.
"""

from trio_router.money.book import NO_PRICES, PriceBook
from trio_router.money.price import Price, dollars, of_dollars, plain

__all__ = ["NO_PRICES", "Price", "PriceBook", "dollars", "of_dollars", "plain"]
