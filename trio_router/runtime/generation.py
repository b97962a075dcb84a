"""Everything that one configuration makes, as one value with a lifetime.

A generation is prepared whole (`prepare`: a wrong configuration raises and changes nothing), then it
takes the current one's place in one assignment.  A request keeps the generation that it began with.
A generation that was replaced is closed when its last request has ended: what only it held, such as
the connections to a provider that is gone, is closed then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from trio_router.config.file import ConfigError
from trio_router.policy.admins import Admins
from trio_router.policy.keys import Authenticator
from trio_router.policy.origins import Origins
from trio_router.relay.engine import Upstreams
from trio_router.routing.fleet import Fleet
from trio_router.routing.table import RouteTable
from trio_router.runtime.certificates import certificate_files, marks_of, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from trio_router.clock.clock import Clock
    from trio_router.config.schema import Config
    from trio_router.runtime.clients import SharedClients


@dataclass(frozen=True, slots=True)
class Draft:
    """What a configuration makes by itself, without a look at what runs."""

    config: Config
    table: RouteTable
    keys: Authenticator
    admins: Admins
    origins: Origins  # which web pages may ask, and by which names
    tls: ssl.SSLContext | None  # what clients are encrypted with; None if they are not
    certificate: tuple[bytes, ...]  # the marks of the files that `tls` was made from


@dataclass(frozen=True, slots=True)
class Generation(Draft):
    """A draft, and what it shares with the generations before and after it.  `number` counts from 1."""

    number: int
    upstreams: Upstreams


def prepare(
    config: Config, clock: Clock, heard: Callable[[], Iterable[str]], before: Draft | None = None
) -> Draft:
    """Checks and makes what takes time (it reads certificates, and derives keys slowly on purpose).

    `heard` gives names of models that providers were heard to have.  Raises ConfigError.  It touches
    nothing that runs, so that it may be called in a thread.
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
    return Draft(config, table, keys, admins, origins, tls, certificate)


def succeed(draft: Draft, before: Generation | None, clients: SharedClients, number: int) -> Generation:
    """The generation of `draft`, with what is unchanged taken over from the one `before`."""
    config = draft.config
    fleet = Fleet(draft.table.routes.values(), None if before is None else before.upstreams.fleet)
    upstreams = Upstreams(clients.take(config.providers), fleet, config.stream)
    return Generation(
        config=config,
        table=draft.table,
        keys=draft.keys,
        admins=draft.admins,
        origins=draft.origins,
        tls=draft.tls,
        certificate=draft.certificate,
        number=number,
        upstreams=upstreams,
    )
