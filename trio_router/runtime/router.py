"""The router's life: what it starts, what it runs on, how it takes a new configuration, how it ends."""

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
from trio_router.runtime.embedded import start_demo
from trio_router.runtime.generation import prepare, succeed
from trio_router.runtime.models import listed_model, listed_models
from trio_router.runtime.observation import Observation, target_reports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from trio_router.clock.clock import Clock
    from trio_router.config.schema import Config, ProviderConfig
    from trio_router.dialects.base import ListedModel
    from trio_router.observe.record import TargetReport
    from trio_router.runtime.generation import Draft, Generation
    from trio_router.transport import StreamTransport

    InThread = Callable[..., Awaitable[Any]]

logger = logging.getLogger("trio_router")
_LAST_WORDS = 0.5  # s that requests get to end after they were told to
_LAST_SPANS = 0.5  # s that the last spans may take to be sent
DEMO = "demo"


class State(Enum):
    """What the router says of itself."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Router:
    """One process's router.  It runs inside `async with router.running()`.

    `make_transport` gives the transport of one provider's client; by default it is one of real sockets.
    `in_thread` runs what would hold the event loop for too long.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock = SYSTEM,
        make_transport: Callable[[], StreamTransport] | None = None,
        in_thread: InThread = trio.to_thread.run_sync,
    ) -> None:
        self.clock = clock
        self._in_thread = in_thread
        self.metrics = Metrics()
        self.engine = Engine(self.metrics, clock)
        self.observation = Observation(self.engine)
        self.catalog = Catalog()
        self.state = State.STARTING
        self.on_change: list[Callable[[Generation], None]] = []  # told of each new generation
        self._clients = SharedClients(make_transport, self.engine.alarms.alarm)
        self._waiting = trio.CancelScope()
        self._demo: ProviderConfig | None = None  # the embedded provider, once it runs
        self._draft: Draft = prepare(config, clock, self.heard)
        self.generation: Generation = succeed(self._draft, None, self._clients, 1)
        self._take_over(None)

    # -- its life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Router]:
        """Starts all that runs beside requests, and ends it; on cancel too.

        Requests must have ended when it is left: `drain` sees to that.
        """
        self.observation.tracing = tracing_from(os.environ, self.metrics.labels, self.clock.wall)
        try:
            async with trio.open_nursery() as nursery:
                self.engine.nursery = nursery
                nursery.start_soon(self.engine.alarms.run)
                await nursery.start(self.catalog.run)
                nursery.start_soon(self.observation.watch_lag)
                nursery.start_soon(self._sample)
                await self._start_demo(self.generation.config)
                self.state = State.READY
                try:
                    yield self
                finally:
                    self.state = State.DRAINING
                    self.engine.nursery = None
                nursery.cancel_scope.cancel()
        finally:
            self._clients.close()
            await self._send_last_spans()

    async def drain(self, grace: float) -> None:
        """Refuses new work; waits up to `grace` seconds for running requests, then ends the rest.

        The rest get an error event or a 503.  Returns when all have ended, or half a second after
        they were told to.
        """
        self.state = State.DRAINING
        with trio.move_on_after(grace) as self._waiting:
            await self.engine.wait_idle()
        for request in sorted(self.engine.running, key=lambda request: request.record.number):
            request.abort(Draining("the router is shutting down"), Outcome.SHUTDOWN)
        with trio.move_on_after(_LAST_WORDS):
            await self.engine.wait_idle()

    def hurry(self) -> None:
        """Ends the drain's patience: what still runs is ended now."""
        self._waiting.cancel()

    @property
    def is_draining(self) -> bool:
        return self.state is State.DRAINING

    # -- its configuration

    async def use(self, config: Config) -> None:
        """Takes a new configuration.  Raises ConfigError, and nothing is changed then.

        Requests that are under way go on with the generation that they began with.
        """
        await self._start_demo(config)
        before = self._draft
        draft = await self._in_thread(prepare, self._with_demo(config), self.clock, self.heard, before)
        self._draft = draft
        old = self.generation
        self.generation = succeed(draft, old, self._clients, old.number + 1)
        self._take_over(old)

    def heard(self) -> list[str]:
        """Names of models that providers were heard to have."""
        lists = self.catalog.known().items()
        return [f"{provider}/{model.id}" for provider, models in lists for model in models]

    async def _start_demo(self, config: Config) -> None:
        """The embedded provider is there once a configuration has asked for it."""
        if not config.server.demo or self._demo is not None or self.engine.nursery is None:
            return
        self._demo = await start_demo(self.engine.nursery)
        if config is self.generation.config:  # the first one: it was made before its provider ran
            old = self.generation
            self._draft = prepare(self._with_demo(config), self.clock, self.heard, self._draft)
            self.generation = succeed(self._draft, old, self._clients, old.number)
            self._take_over(old)

    def _with_demo(self, config: Config) -> Config:
        if not config.server.demo or self._demo is None:
            return config
        return config.model_copy(update={"providers": {DEMO: self._demo, **config.providers}})

    def _take_over(self, old: Generation | None) -> None:
        """`self.generation` is the one in force; `old` ends with its last request."""
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
        """Its last request has ended: what only it held is closed."""
        old.upstreams.on_unused = None
        self._clients.release(old.config.providers)
        self.generation.upstreams.fleet.settle()

    def _forget_targets(self, old: Generation, new: Generation) -> None:
        gone = old.upstreams.fleet.targets.keys() - new.upstreams.fleet.targets.keys()
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

    async def models(self) -> list[ListedModel]:
        return await listed_models(self.generation, self.catalog)

    def model(self, name: str) -> ListedModel:
        """Raises ModelNotFound."""
        return listed_model(self.generation, self.catalog, name)

    def target_reports(self) -> list[TargetReport]:
        """The targets of routes that are not simply healthy."""
        return target_reports(self.generation)

    def show_states(self) -> None:
        """Notes how all targets of routes do."""
        fleet = self.generation.upstreams.fleet
        for name in fleet.targets:
            provider, _, model = name.partition("/")
            self.engine.show_state(fleet, provider, model)

    async def sample(self) -> None:
        """Looks at all that runs, for the history and the gauges."""
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
            with trio.move_on_after(_LAST_SPANS, shield=True):
                await trio.to_thread.run_sync(tracing.close, abandon_on_cancel=True)
