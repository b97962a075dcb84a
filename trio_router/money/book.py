"""The prices of one configuration's targets, each looked up once and then kept."""

from __future__ import annotations

import logging
import math
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trio_router.config.kinds import embedded_in
from trio_router.money.package import FREE, load, price_of
from trio_router.money.price import Price, Rates, of_dollars
from trio_router.wire.addresses import is_loopback
from trio_router.wire.names import escaped

if TYPE_CHECKING:
    from trio_router.config.prices import PriceConfig
    from trio_router.config.schema import Config, ProviderConfig
    from trio_router.routing.target import Target

logger = logging.getLogger("trio_router")
_PERIOD = 900  # s for which a price of the package is kept: it may depend on the time of day
_MOST = 1000  # prices that are kept; clients make up names of models
_TOLD = Price(Rates(0, 0, 0, 0, 0, 0, 0, 0), "the provider's answer", is_told=True)


class PriceBook:
    """Which price a target has.

    `before` is the book of the configuration before: what it has said once is not said again.  It may
    read the package's data, which is slow; a look-up later is not.
    """

    def __init__(self, config: Config | None = None, before: PriceBook | None = None) -> None:
        self._configured: dict[str, Price] = {}
        self._embedded: frozenset[str] = frozenset()
        self._fixed: dict[str, Price] = {}  # of a whole provider
        self._sellers: dict[str, str] = {}
        self._kept: dict[str, tuple[float, Price | None]] = {}
        self._missed: set[str] = set() if before is None else before._missed
        if config is not None:
            self._take(config)

    def _take(self, config: Config) -> None:
        self._configured = {name: configured(name, price) for name, price in config.prices.items()}
        self._fixed = dict.fromkeys(embedded_in(dict(config.server)), FREE)
        for name, provider in config.providers.items():
            host = urlsplit(provider.base_url).hostname or ""
            if _is_local(provider, host):
                self._fixed.setdefault(name, FREE)
            elif (kind := provider.kind).tells_cost:
                self._fixed[name] = _TOLD
            elif kind.sells_as:
                self._sellers[name] = kind.sells_as
        if self._sellers:
            load()

    def of(self, target: Target, at: float) -> Price | None:
        """The price of `target` at the Unix time `at`; None if none is known, which is logged once."""
        kept = self._kept.get(target.name)
        if kept is None or at >= kept[0]:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            kept = self._kept[target.name] = self._found(target, at)
        return kept[1]

    def _found(self, target: Target, at: float) -> tuple[float, Price | None]:
        """The price, and until when it holds."""
        fixed = (
            self._configured.get(target.name)
            or self._configured.get(f"{target.provider}/*")
            or self._fixed.get(target.provider)
        )
        if fixed is not None:
            return math.inf, fixed
        seller = self._sellers.get(target.provider)
        if seller is not None and (found := price_of(seller, target.upstream_model, at)) is not None:
            return (at // _PERIOD + 1) * _PERIOD, found
        self._miss(target.name)
        return (math.inf if seller is None else (at // _PERIOD + 1) * _PERIOD), None

    def _miss(self, name: str) -> None:
        if name not in self._missed and len(self._missed) < _MOST:
            self._missed.add(name)
            message = "no price is known: tokens are counted, money is not; set one under prices"
            logger.info(message, extra={"fields": {"target": escaped(name)}})


def configured(name: str, price: PriceConfig) -> Price:
    """A price that the configuration gives for `name`."""

    def told(*amounts: Decimal | None) -> int:
        return next((of_dollars(amount) for amount in amounts if amount is not None), 0)

    p = price
    rates = Rates(
        input=told(p.input),
        output=told(p.output),
        cached=told(p.cached_input, p.input),
        written=told(p.cache_write, p.input),
        written_1h=told(p.cache_write_1h, p.cache_write, p.input),
        audio_in=told(p.audio_input, p.input),
        audio_out=told(p.audio_output, p.output),
        reasoning=told(p.reasoning, p.output),
    )
    return Price(
        rates,
        f"prices.{name}",
        image=told(p.image),
        search=of_dollars((p.searches or Decimal(0)) / 1000),
        request=told(p.request),
    )


def _is_local(provider: ProviderConfig, host: str) -> bool:
    """Whether the user's own machines answer.  A loopback address with a key may be a paid proxy."""
    if provider.dialect == "ollama":
        return host != "ollama.com" and not host.endswith(".ollama.com")
    return is_loopback(host) and not provider.keys and not provider.cloud


NO_PRICES = PriceBook()
