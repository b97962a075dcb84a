"""One router of a world: everything that composes it stands here, so that it can be exchanged here."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import trio
from prometheus_client import Gauge

from trio_router.config.schema import Config
from trio_router.observe.record import Outcome
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.serving import serve
from trio_router.simulation.loop import run_here
from trio_router.simulation.network import SimWire
from trio_router.transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_router.clock.clock import Clock
    from trio_router.errors import RouterError
    from trio_router.simulation.network import Network
    from trio_router.simulation.pipes import End
    from trio_router.transport.sockets import Wire


class Listener(nullcontext[None]):
    """Stands where `serve` is given a listening socket."""

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 8777)


class Machine:
    """A router between a network's hosts and its clients."""

    def __init__(self, name: str, config: dict[str, Any], network: Network, clock: Clock) -> None:
        self.name = name
        self.config = Config.model_validate(config)
        self.network = network
        self.is_listening = False
        self.stopped_at: float | None = None
        self.ended_at: float | None = None
        self.ends: list[End] = []  # its own sides of its clients' connections
        self.ended = trio.Event()
        self._stop = trio.Event()
        self._arrived, self._arriving = trio.open_memory_channel["End"](1000)
        self.router = Router(
            self.config, clock=clock, make_transport=self._transport, in_thread=run_here
        )
        self.app = application(self.router)

    async def run(self, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until `stop`."""
        await serve(
            self.app,
            [Listener()],  # type: ignore[list-item]
            shutdown_trigger=self._stop.wait,
            accept=self._accept,
            task_status=task_status,
        )
        self.ended_at = trio.current_time()
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

    async def wait_idle(self) -> None:
        """Until no request is under way."""
        await self.router.engine.wait_idle()

    @property
    def open_requests(self) -> int:
        return len(self.router.engine.running)

    @property
    def idle_upstreams(self) -> int:
        """Connections that are kept for the next request."""
        clients = self.router.generation.upstreams.clients.values()
        return sum(client._transport.idle_connections for client in clients)

    def gauges(self) -> Iterator[tuple[str, float]]:
        """The gauges of `/metrics`, one for each set of labels."""
        for metric in vars(self.router.metrics).values():
            if isinstance(metric, Gauge):
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
