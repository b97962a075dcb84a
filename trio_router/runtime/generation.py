"""Everything that is made from one configuration, as one value with a lifetime.

A generation is prepared as a whole (`prepare`; a wrong configuration raises and changes nothing), then
it replaces the current one in one assignment.  A request keeps the generation that it began with.
When the last request of a replaced generation has ended, whatever only that generation held is closed,
such as the connections to a provider that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import trio

from trio_router.config.file import ConfigError
from trio_router.money import PriceBook
from trio_router.policy.accounts import AccountBook
from trio_router.policy.admins import Admins
from trio_router.policy.keys import Authenticator
from trio_router.policy.origins import Origins
from trio_router.relay.engine import Upstreams
from trio_router.routing.fleet import Fleet
from trio_router.routing.table import RouteTable
from trio_router.runtime.certificates import certificate_files, marks_of, tls_context
from trio_router.stores.making import store_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from trio_router.clock.clock import Clock
    from trio_router.config.accounts import StoreConfig
    from trio_router.config.schema import Config
    from trio_router.policy.chain import Chain
    from trio_router.runtime.clients import SharedClients
    from trio_router.stores.interface import Store


@dataclass(frozen=True, slots=True)
class Draft:
    """What is made from a configuration alone, independent of what runs."""

    config: Config
    table: RouteTable
    keys: Authenticator
    accounts: AccountBook  # the keys and teams that the configuration names
    admins: Admins
    origins: Origins  # which web pages may ask, and by which names
    prices: PriceBook
    tls: ssl.SSLContext | None  # of clients' connections; None without TLS
    certificate: tuple[str, ...]  # the marks of the files that `tls` was made from


@dataclass(frozen=True, slots=True)
class Generation(Draft):
    """A draft, plus what it shares with its neighbours in time.  `number` counts from 1."""

    number: int
    upstreams: Upstreams
    policies: Chain | None  # what stands before the models; None if nothing does


def prepare(
    config: Config, clock: Clock, heard: Callable[[], Iterable[str]], before: Draft | None = None
) -> Draft:
    """Checks the configuration and makes the slow parts (certificates, prices, keys).

    `heard` gives the model names in the providers' own lists.  Raises ConfigError.  It touches nothing
    that runs, so it may be called in a thread.
    """
    # Before they are read: a file that is renewed in between is then seen as renewed.
    certificate = marks_of(certificate_files(config.server))
    try:
        tls = tls_context(config.server)
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise ConfigError([f"server.certfile: the certificate cannot be used: {reason}"]) from None
    if before is not None and before.config.auth == config.auth:
        admins = before.admins
    else:
        admins = Admins(config.auth, clock.wall, trio.current_time)
    origins = Origins(config.server.cors, has_keys=bool(config.auth.keys))
    table, keys = RouteTable(config, heard), Authenticator(config.auth)
    prices = PriceBook(config, None if before is None else before.prices)
    accounts = AccountBook(config)
    if config.stored is not None:
        made_store(config.stored)  # raises ConfigError
    return Draft(config, table, keys, accounts, admins, origins, prices, tls, certificate)


def succeed(
    draft: Draft,
    before: Generation | None,
    clients: SharedClients,
    number: int,
    policies: Chain | None = None,
) -> Generation:
    """The generation of `draft`; it takes over what is unchanged from the generation `before`."""
    config = draft.config
    fleet = Fleet(draft.table.standing(), None if before is None else before.upstreams.fleet)
    upstreams = Upstreams(clients.take(config.providers), fleet, config.stream, draft.prices)
    drafted = {field.name: getattr(draft, field.name) for field in fields(Draft)}
    return Generation(**drafted, number=number, upstreams=upstreams, policies=policies)


def made_store(config: StoreConfig) -> Store:
    """The store that the configuration names, not opened.  Raises ConfigError."""
    counters = config.counters
    secret = None if counters is None else counters.get_secret_value()
    try:
        return store_of(config.url.get_secret_value(), secret)
    except ValueError as fault:
        raise ConfigError([f"store.{fault}"]) from None
