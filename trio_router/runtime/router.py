"""What all requests share: configuration, routes, upstream clients, metrics, and the drain."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from trio_router.clock.alarms import AlarmClock
from trio_router.dialects.base import ListedModel
from trio_router.errors import Draining
from trio_router.observe.history import SLOT, History
from trio_router.observe.lag import watch_lag
from trio_router.observe.log import log_request
from trio_router.observe.metrics import Metrics
from trio_router.observe.record import Outcome, TargetState
from trio_router.observe.tracing import passed_on
from trio_router.relay.client import UpstreamClient
from trio_router.relay.gate import Gate
from trio_router.routing.fleet import Fleet
from trio_router.routing.table import RouteTable
from trio_router.runtime.catalog import Catalog
from trio_router.transport import StreamTransport
from trio_router.transport.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.config.schema import Config, ProviderConfig
    from trio_router.observe.record import RequestRecord
    from trio_router.observe.tracing import Tracing
    from trio_router.relay.exchange import Exchange


logger = logging.getLogger("trio_router")


class Router:
    """One process's router.  `make_transport` gives the transport of one provider's client."""

    def __init__(
        self,
        config: Config,
        *,
        make_transport: Callable[[], StreamTransport] | None = None,
    ) -> None:
        self._make_transport = make_transport
        self.metrics = Metrics()
        self.history = History(self.metrics.labels)
        self.tracing: Tracing | None = None  # the application's, for as long as it runs
        self.alarms = AlarmClock()  # run by the application, for as long as it runs
        self.catalog = Catalog()  # likewise
        self.exchanges: set[Exchange] = set()
        self.clients: dict[str, UpstreamClient] = {}
        self.fleet = Fleet()
        self.random: Callable[[], float] = random.random
        limit = config.server.max_streams
        self.gate = None if limit is None else Gate(limit, config.server.max_queue)
        # For upstreams that are let end after their client has left: the application's own nursery.
        self.nursery: trio.Nursery | None = None
        self.drains = 0  # such upstreams
        self.is_ready = False
        self.is_draining = False
        self._idle = trio.Event()
        self._waiting = trio.CancelScope()
        self.use(config)

    def use(self, config: Config) -> None:
        """Takes a configuration; requests that are under way go on with the one they began with."""
        self.config = config
        self.table = RouteTable(config, self._heard)
        self.fleet.use(self.table.routes.values())
        for name, provider in config.providers.items():
            self.clients.setdefault(name, self._client(provider))

    def with_provider(self, name: str, provider: ProviderConfig) -> None:
        """Adds a provider that is known only once the router runs (the embedded demo)."""
        providers = {name: provider, **self.config.providers}
        self.use(self.config.model_copy(update={"providers": providers}))

    async def models(self) -> list[ListedModel]:
        """All that can be asked for: what the configuration names, and what other providers list."""
        asked = [
            (self.table.whole_provider(name), self.clients[name])
            for name in self.table.unlisted_providers()
        ]
        lists = await self.catalog.lists(asked)
        named = [ListedModel(name) for name in self.table.names()]
        return named + [
            replace(model, id=f"{provider}/{model.id}")
            for provider, models in lists.items()
            for model in models
        ]

    def model(self, name: str) -> ListedModel:
        """One of them, with what is known of it by now.  Raises ModelNotFound."""
        if name in self.table.routes:
            return ListedModel(name)
        target = self.table.target(name)
        known = self.catalog.known().get(target.provider, ())
        found = (replace(model, id=target.name) for model in known if model.id == target.model)
        return next(found, ListedModel(target.name))

    def _heard(self) -> list[str]:
        lists = self.catalog.known().items()
        return [f"{provider}/{model.id}" for provider, models in lists for model in models]

    def booked(self, record: RequestRecord) -> None:
        """A request has ended."""
        self.metrics.ended(record)
        self.history.ended(record, time.time())
        log_request(record)
        if record.span is not None and self.tracing is not None:
            provider = self.config.providers.get(record.provider)
            self.tracing.ended(record, "" if provider is None else provider.base_url)
        if not self.exchanges:
            self._idle.set()

    def show_states(self) -> None:
        """Notes how all targets of routes do."""
        for route in self.table.routes.values():
            for target in route.targets:
                self.show_state(target.target.provider, target.target.model)

    def show_state(self, provider: str, model: str) -> None:
        """Notes how a target does, if it stands in a route: other processes may be who renders it."""
        state = self.fleet.targets.get(f"{provider}/{model}")
        if state is not None:
            now = trio.current_time()
            self.metrics.target_state.labels(provider, model).set(state.state(now))

    def trace(self, record: RequestRecord, traceparent: bytes, tracestate: bytes) -> None:
        """Takes the trace that a client says its request is part of, and tells the upstream."""
        if self.tracing is not None:
            record.trace_headers = self.tracing.begin(record, traceparent, tracestate)
        elif traceparent:
            record.trace_headers = passed_on(traceparent, tracestate)

    def target_states(self) -> list[TargetState]:
        """The targets of routes that are not simply healthy."""
        now = trio.current_time()
        targets = {t.name: t.target for route in self.table.routes.values() for t in route.targets}
        states = self.fleet.targets.items()
        found = [(targets[name], state) for name, state in states if name in targets]
        return [
            TargetState(t.provider, t.model, *told, state.last_error)
            for t, state in found
            if (told := state.health(now)) is not None
        ]

    async def sample(self) -> None:
        """Looks at all that runs, for the history and the gauges."""
        self.metrics.sample(self.target_states())
        records = [exchange.record for exchange in self.exchanges]
        for _ in self.history.sample(records, time.time()):
            await trio.lowlevel.checkpoint()

    async def observe(self) -> None:
        """Watches the event loop, and samples once a slot of the history; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_lag, self._note_lag)
            while True:
                await trio.sleep(SLOT - time.time() % SLOT)
                try:
                    await self.sample()
                except Exception:
                    logger.exception("sampling failed")  # streams go on

    def _note_lag(self, seconds: float) -> None:
        self.metrics.loop_lag.observe(seconds)
        self.history.lagged(seconds, time.time())

    async def drain(self, grace: float) -> None:
        """Refuses new work; waits up to `grace` seconds for running requests, then ends the rest.

        The rest get an error event or a 503.  Returns when all have ended, or half a second after
        they were told to.
        """
        self.is_draining = True
        await self._wait_until_idle(grace)
        for exchange in sorted(self.exchanges, key=lambda exchange: exchange.record.number):
            exchange.abort(Draining("the router is shutting down"), Outcome.SHUTDOWN)
        await self._wait_until_idle(0.5)

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.aclose()

    def hurry(self) -> None:
        """Ends the drain's patience: what still runs is ended now."""
        self._waiting.cancel()

    async def _wait_until_idle(self, seconds: float) -> None:
        with trio.move_on_after(seconds) as self._waiting:
            while self.exchanges:
                self._idle = trio.Event()
                await self._idle.wait()

    def _client(self, provider: ProviderConfig) -> UpstreamClient:
        if self._make_transport:
            transport = self._make_transport()
        else:
            # A proxy of the environment cannot reach this machine's own loopback.
            host = urlsplit(provider.base_url).hostname or ""
            transport = StreamTransport(trust_env=not is_loopback(host))
        limit = provider.max_in_flight
        gate = None if limit is None else Gate(limit, provider.max_queue)
        return UpstreamClient(transport, gate=gate)
