"""One router of a world: everything that composes it stands here, so that it can be exchanged here."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from msgspec import json

from trio_router.config.schema import Config
from trio_router.observe.record import Outcome
from trio_router.runtime.reload import Trigger
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.serving import serve
from trio_router.simulation.loop import run_here
from trio_router.simulation.network import SimWire
from trio_router.simulation.operating import SimFile, SimReloader, text_of
from trio_router.transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_router.clock.clock import Clock
    from trio_router.errors import RouterError
    from trio_router.observe.record import RequestRecord
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.reload import Reloader
    from trio_router.simulation.network import Network
    from trio_router.simulation.operating import Reloaded
    from trio_router.simulation.pipes import End
    from trio_router.transport.sockets import Wire


WHOSE: ContextVar[Machine] = ContextVar("the router that runs")


class Listener(nullcontext[None]):
    """Stands where `serve` is given a listening socket."""

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 8777)


class Machine:
    """A router between a network's hosts and its clients; with `has_file` its operator can reload."""

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        network: Network,
        clock: Clock,
        *,
        has_file: bool = False,
    ) -> None:
        self.name = name
        self.network = network
        self.is_listening = False
        self.is_dead = False  # it ended without a word
        self.died_at = inf
        self.stopped_at: float | None = None
        self.ended_at: float | None = None
        self.ends: list[End] = []  # its own sides of its clients' connections
        self.ended = trio.Event()
        self._stop = trio.Event()
        self._arrived, self._arriving = trio.open_memory_channel["End"](1000)
        self._life = trio.CancelScope()
        self.router = Router(
            Config.model_validate(config),
            clock=clock,
            make_transport=self._transport,
            in_thread=run_here,
        )
        self.configs = {1: config}  # by the number of their generation
        self.began: dict[str, int] = {}  # request -> the generation with which it began
        self.generations = [self.router.generation]
        self.file = SimFile(text_of(config))
        self.reloads: list[Reloaded] = []
        self.reloader: Reloader | None = None
        if has_file:
            self.reloader = SimReloader(self.router, self.file, self.reloads.append)
            self.router.on_change.append(self._take)
        self.router.engine.consumers.append(self._book)
        self.app = application(self.router, reloader=self.reloader)

    @property
    def config(self) -> Config:
        """What is in force."""
        return self.router.generation.config

    async def run(self, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until `stop` or `die`."""
        WHOSE.set(self)
        with self._life:
            await serve(
                self.app,
                [Listener()],  # type: ignore[list-item]
                shutdown_trigger=self._stop.wait,
                accept=self._accept,
                task_status=task_status,
            )
        if not self.is_dead:
            self.ended_at = trio.current_time()
            self.ended.set()

    async def hang_up(self) -> None:
        """What SIGHUP does."""
        WHOSE.set(self)
        if self.reloader is not None and self.stopped_at is None:
            await self.reloader.reload(Trigger.SIGNAL)

    def die(self) -> None:
        """What SIGKILL does: not a byte more, and no line of log."""
        if self.ended_at is None:
            now = trio.current_time()
            self.stopped_at = now if self.stopped_at is None else self.stopped_at
            self.ended_at = self.died_at = now
            self.is_dead = True
            self.is_listening = False
            self._life.cancel()
            mine = [end for who, end in self.network.ends if who == self.name]
            for end in self.ends + mine:
                end.close()
            self.ended.set()

    def connect(self, end: End) -> None:
        """A client has come; `end` is the router's."""
        self.ends.append(end)
        if self.is_listening:
            self._arrived.send_nowait(end)
        else:
            end.reset()

    def stop(self) -> None:
        """What SIGTERM does."""
        if self.stopped_at is None:
            self.stopped_at = trio.current_time()
            self._stop.set()

    def end_request(self, request_id: str, error: RouterError) -> bool:
        """What the dashboard's stop does to a live request; False if it has ended."""
        for request in self.router.engine.running:
            if request.record.request_id == request_id:
                request.abort(error, Outcome.STOPPED)
                return True
        return False

    def _take(self, generation: Generation) -> None:
        before = self.generations[-1]
        for request in self.router.engine.running:
            self.began.setdefault(request.record.request_id, before.number)
        self.generations.append(generation)
        self.configs[generation.number] = json.decode(self.file.read)

    def _book(self, record: RequestRecord) -> None:
        if not self.is_dead:
            self.began.setdefault(record.request_id, self.router.generation.number)

    async def wait_idle(self) -> None:
        """Until no request is under way."""
        await self.router.engine.wait_idle()

    @property
    def open_requests(self) -> int:
        return len(self.router.engine.running)

    @property
    def taken_slots(self) -> list[int]:
        """Of the router's own gate and of each provider's: how many are inside."""
        clients = self.router.generation.upstreams.clients.values()
        gates = [self.router.engine.gate, *(client._gate for client in clients)]
        return [gate.admission.inside for gate in gates if gate is not None]

    @property
    def idle_upstreams(self) -> int:
        """Connections that are kept for the next request."""
        clients = self.router.generation.upstreams.clients.values()
        return sum(client._transport.idle_connections for client in clients)

    def held(self) -> list[str]:
        """What generations that were replaced still hold, in words."""
        found = [
            f"generation {old.number} has {old.upstreams.users} users"
            for old in self.generations[:-1]
            if old.upstreams.users or old.upstreams.on_unused is not None
        ]
        clients, wanted = len(self.router._clients), len(self.config.providers)
        if clients != wanted:
            found.append(f"{clients} upstream clients are held for {wanted} providers")
        return found

    def gauges(self) -> Iterator[tuple[str, float]]:
        """The gauges of `/metrics` that count what is open, one for each set of labels."""
        metrics = self.router.metrics
        for metric in (metrics.requests_open, metrics.streams_open, metrics.upstreams_open):
            for family in metric.collect():
                for sample in family.samples:
                    yield sample.name.removeprefix("trio_router_"), sample.value

    def metrics(self) -> bytes:
        return self.router.metrics.text()

    async def _accept(
        self,
        listener: Any,
        handle: Callable[[Any], Awaitable[None]],
        nursery: trio.Nursery,
        turn: object,
    ) -> None:
        self.is_listening = True
        try:
            async for end in self._arriving:
                nursery.start_soon(handle, SimWire(end))
        finally:
            self.is_listening = False
            while self._arriving.statistics().current_buffer_used:
                self._arriving.receive_nowait().reset()

    def _transport(self) -> StreamTransport:
        return StreamTransport(trust_env=False, connect=self._connect)

    async def _connect(self, host: str, port: int) -> Wire:
        return await self.network.connect(self.name, host)


class LogBook(logging.Handler):
    """Everything that routers log, as it is logged: no thread between."""

    def __init__(self, note: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._note = note

    def handle(self, record: logging.LogRecord) -> bool:
        self._note(record)
        return True

    def __enter__(self) -> LogBook:
        root = logging.getLogger()
        self._level = logging.getLogger("trio_router").level
        root.addHandler(self)
        logging.getLogger("trio_router").setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        logging.getLogger("trio_router").setLevel(self._level)
