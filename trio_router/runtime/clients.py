"""The upstream clients of all generations; they share a client while its provider is unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trio_router.relay.client import UpstreamClient
from trio_router.relay.gate import Gate
from trio_router.transport import StreamTransport
from trio_router.wire.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trio_router.clock.alarms import Alarm
    from trio_router.config.schema import ProviderConfig
    from trio_router.transport.credentials import Credentials

    # Name, base URL, whether its open answers are limited, and whose credentials it is asked with.
    Identity = tuple[str, str, bool, tuple[object, ...]]


@dataclass(slots=True)
class _Shared:
    client: UpstreamClient
    gate: Gate | None
    holders: int = 0  # generations


class SharedClients:
    """Counts the generations that hold each client, and closes a client that none holds any more.

    `make_transport` gives the transport of one client; by default it is one of real sockets.
    `alarm` makes an alarm, which closes connections that are not used any more.  `credentials` gives
    those of a provider whose credentials change, None for any other.
    """

    def __init__(
        self,
        make_transport: Callable[[], StreamTransport] | None = None,
        alarm: Callable[[Callable[[], None]], Alarm] | None = None,
        credentials: Callable[[str, ProviderConfig], Credentials | None] = lambda name, provider: None,
    ) -> None:
        self._make_transport = make_transport
        self._alarm = alarm
        self._credentials = credentials
        self._shared: dict[Identity, _Shared] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def take(self, providers: Mapping[str, ProviderConfig]) -> dict[str, UpstreamClient]:
        """The client of each provider, by name.  The caller holds them until it calls `release`.

        An existing client keeps its connections and gets the provider's new limits.
        """
        clients = {}
        for name, provider in providers.items():
            known = self._shared.get(identity(name, provider))
            if known is None:
                known = self._shared[identity(name, provider)] = self._made(name, provider)
            elif known.gate is not None and provider.max_in_flight is not None:
                known.gate.resize(provider.max_in_flight, provider.max_queue)
            known.client.forget_targets()
            known.holders += 1
            clients[name] = known.client
        return clients

    def release(self, providers: Mapping[str, ProviderConfig]) -> None:
        """One holder of each provider's client has gone; closes clients that nobody holds."""
        for one in [identity(name, provider) for name, provider in providers.items()]:
            known = self._shared[one]
            known.holders -= 1
            if not known.holders:
                del self._shared[one]
                known.client.close()

    def close(self) -> None:
        """Closes all of them, also those in use."""
        for shared in self._all():
            shared.client.close()

    def _all(self) -> Iterable[_Shared]:
        return self._shared.values()

    def _made(self, name: str, provider: ProviderConfig) -> _Shared:
        if self._make_transport is not None:
            transport = self._make_transport()
        else:
            # The environment's proxy cannot reach this machine's loopback.
            host = urlsplit(provider.base_url).hostname or ""
            transport = StreamTransport(trust_env=not is_loopback(host))
        if self._alarm is not None:
            transport.ring_with(self._alarm)
        limit = provider.max_in_flight
        gate = None if limit is None else Gate(limit, provider.max_queue)
        credentials = self._credentials(name, provider)
        return _Shared(UpstreamClient(transport, gate=gate, credentials=credentials), gate)


def identity(name: str, provider: ProviderConfig) -> Identity:
    """A client is kept as long as this stays the same."""
    asked_with: tuple[object, ...] = ()
    if provider.cloud:
        asked_with = (provider.region, provider.aws, provider.vertex, provider.entra)
    return name, provider.base_url, provider.max_in_flight is not None, asked_with
