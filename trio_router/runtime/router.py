"""The router's life: start, new configurations, drain, end."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING

import trio

from trio_router.clock.clock import SYSTEM
from trio_router.errors import Draining
from trio_router.observe.metrics import Metrics
from trio_router.observe.record import Outcome
from trio_router.observe.tracing import tracing_from
from trio_router.relay.engine import Engine
from trio_router.relay.gate import Gate
from trio_router.runtime.catalog import Catalog
from trio_router.runtime.clients import SharedClients, identity
from trio_router.runtime.counting import ProcessCounting
from trio_router.runtime.credentials import CredentialSources
from trio_router.runtime.embedded import Embedded
from trio_router.runtime.generation import prepare, succeed
from trio_router.runtime.models import listed_model, listed_models
from trio_router.runtime.observation import Observation, target_reports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from trio_router.clock.clock import Clock
    from trio_router.config.schema import Config
    from trio_router.dialects.base import ListedModel
    from trio_router.observe.record import TargetReport
    from trio_router.runtime.generation import Draft, Generation
    from trio_router.stores.interface import Store
    from trio_router.transport import StreamTransport

    InThread = Callable[..., Awaitable[Any]]

logger = logging.getLogger("trio_router")
_LAST_WORDS = 0.5  # s that aborted requests get to end
_LAST_SPANS = 0.5  # s that the last spans may take to be sent


class RouterState(Enum):
    """The state that `/readyz` shows."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Router:
    """One process's router.  It runs inside `async with router.running()`.

    `store` is used in place of the one that the configuration names.

    `make_transport` gives the transport of one provider's client; by default it is one of real sockets.
    `in_thread` runs work that would block the event loop for too long.  `number` is the number of the
    first generation.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock = SYSTEM,
        make_transport: Callable[[], StreamTransport] | None = None,
        in_thread: InThread = trio.to_thread.run_sync,
        number: int = 1,
        store: Store | None = None,
    ) -> None:
        self.clock = clock
        self.in_thread = in_thread
        self.metrics = Metrics()
        self.engine = Engine(self.metrics, clock)
        self.observation = Observation(self.engine)
        self.catalog = Catalog()
        self.state = RouterState.STARTING
        self.on_change: list[Callable[[Generation], None]] = []  # called with each new generation
        self._credentials = CredentialSources(clock.wall, self.metrics.renewed, make_transport)
        self._clients = SharedClients(make_transport, self.engine.alarms.alarm, self._credentials.of)
        self._waiting = trio.CancelScope()
        self._embedded = Embedded()
        self._draft: Draft = prepare(config, clock, self.heard)
        self.counting = ProcessCounting(clock, self.metrics, store)
        self.generation: Generation = self._succeed(None, number)
        self._take_over(None)

    # -- its life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Router]:
        """Starts everything that runs beside requests, and ends it; on cancel too.

        Requests must have ended before it is left: see `drain`.
        """
        self.observation.tracing = tracing_from(os.environ, self.metrics.labels, self.clock.wall)
        try:
            async with trio.open_nursery() as nursery:
                self.engine.nursery = nursery
                nursery.start_soon(self.engine.alarms.run)
                await nursery.start(self.catalog.run)
                await nursery.start(self._credentials.renewals.run)
                nursery.start_soon(self.observation.watch_lag)
                nursery.start_soon(self._sample)
                await self._start_embedded(self.generation.config)
                await self.counting.start(nursery)
                self.state = RouterState.READY
                try:
                    yield self
                finally:
                    self.state = RouterState.DRAINING
                    self.engine.nursery = None
                nursery.cancel_scope.cancel()
        finally:
            self._clients.close()
            with trio.move_on_after(_LAST_SPANS, shield=True):
                await self._send_last_spans()

    async def drain(self, grace: float) -> None:
        """Refuses new work; waits up to `grace` seconds for running requests, then ends the rest.

        The rest get an error event or a 503.  Returns when all have ended, or half a second after they
        were aborted.
        """
        self.state = RouterState.DRAINING
        with trio.move_on_after(grace) as self._waiting:
            await self.engine.wait_idle()
        for request in sorted(self.engine.running, key=lambda request: request.record.number):
            request.abort(Draining("the router is shutting down"), Outcome.SHUTDOWN)
        with trio.move_on_after(_LAST_WORDS):
            await self.engine.wait_idle()

    def hurry(self) -> None:
        """Cuts the drain short: the requests that still run are ended now."""
        self._waiting.cancel()

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused, because the router is about to end."""
        return self.state is RouterState.DRAINING

    # -- its configuration

    async def use(self, config: Config, number: int | None = None) -> None:
        """Takes a new configuration.  Raises ConfigError and changes nothing if it is wrong.

        Running requests keep the generation that they began with.  `number` is the number of the new
        generation, by default the next one.  Two calls must not overlap.
        """
        await self._start_embedded(config)
        before = self._draft
        draft = await self.in_thread(
            prepare, self._embedded.added(config), self.clock, self.heard, before
        )
        self._draft = draft
        old = self.generation
        self.generation = self._succeed(old, old.number + 1 if number is None else number)
        self._take_over(old)
        if self.engine.nursery is not None:
            await self.counting.start(self.engine.nursery)

    def _succeed(self, old: Generation | None, number: int) -> Generation:
        policies = self.counting.chain(self._draft)
        return succeed(self._draft, old, self._clients, number, policies)

    def heard(self) -> list[str]:
        """The model names in the providers' own lists."""
        lists = self.catalog.known().items()
        return [f"{provider}/{model.id}" for provider, models in lists for model in models]

    async def _start_embedded(self, config: Config) -> None:
        """An embedded provider is there once a configuration has asked for it."""
        nursery = self.engine.nursery
        if nursery is None or not await self._embedded.start(config, nursery):
            return
        if config is self.generation.config:  # the first one: it was made before its provider ran
            old = self.generation
            self._draft = prepare(self._embedded.added(config), self.clock, self.heard, self._draft)
            self.generation = self._succeed(old, old.number)
            self._take_over(old)

    def _take_over(self, old: Generation | None) -> None:
        """Puts `self.generation` into force; `old` is retired when its last request has ended."""
        new = self.generation
        self._set_gate(new.config)
        new.upstreams.fleet.settle()
        now = self.clock.wall()
        self.metrics.took_configuration(new.number, now)
        if old is not None:
            self._forget_targets(old, new)
            upstreams = old.upstreams
            upstreams.on_unused = lambda: self._retire(old)
            if not upstreams.users:
                self._retire(old)
        for tell in self.on_change:
            tell(new)

    def _retire(self, old: Generation) -> None:
        """The last request of `old` has ended: closes what only it held."""
        old.upstreams.on_unused = None
        self._clients.release(old.config.providers)
        self.generation.upstreams.fleet.settle()

    def _forget_targets(self, old: Generation, new: Generation) -> None:
        gone = old.upstreams.fleet.shown() - new.upstreams.fleet.shown()
        self.metrics.forget_targets((n.partition("/")[0], n.partition("/")[2]) for n in gone)
        kept = {identity(name, provider) for name, provider in new.config.providers.items()}
        self.catalog.forget(
            name for name, one in old.config.providers.items() if identity(name, one) not in kept
        )

    def _set_gate(self, config: Config) -> None:
        limit, queue = config.server.max_streams, config.server.max_queue
        gate = self.engine.gate
        if gate is None or limit is None:
            self.engine.gate = None if limit is None else Gate(limit, queue)
        else:
            gate.resize(limit, queue)

    # -- what is seen of it

    async def models(self, generation: Generation) -> list[ListedModel]:
        """What clients of `generation` can ask for."""
        return await listed_models(generation, self.catalog)

    def model(self, name: str, generation: Generation) -> ListedModel:
        """One of them.  Raises ModelNotFound."""
        return listed_model(generation, self.catalog, name)

    def target_reports(self) -> list[TargetReport]:
        """The targets of routes that are not healthy."""
        return target_reports(self.generation)

    def show_states(self) -> None:
        """Sets the metric of every target's state; of those that one pattern has made, the worst.

        And those of the store and of budgets.
        """
        fleet = self.generation.upstreams.fleet
        for name in fleet.targets:
            provider, _, model = name.partition("/")
            self.engine.show_state(fleet, provider, model)
        for labels, state in fleet.states_of_patterns(trio.current_time()).items():
            self.metrics.target_state.labels(*labels).set(state)
        self.counting.show()

    async def sample(self) -> None:
        """Samples everything that runs, for the history and the gauges."""
        self.counting.show()
        await self.observation.sample(self.generation)

    async def _sample(self) -> None:
        """Samples once a slot of the history, until cancelled."""
        while True:
            await self.observation.wait_for_slot()
            try:
                await self.sample()
            except Exception:
                logger.exception("sampling failed")  # streams go on

    async def _send_last_spans(self) -> None:
        tracing, self.observation.tracing = self.observation.tracing, None
        if tracing is not None:
            await trio.to_thread.run_sync(tracing.close, abandon_on_cancel=True)
