"""Serving, in one process or in several: listeners, signals, drain."""

from __future__ import annotations

import gc
import logging
import mmap
import signal
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from trio_router.api.metrics_side import MetricsApp
from trio_router.clock.clock import SYSTEM
from trio_router.observe.log import log_level, logging_to, write_line
from trio_router.observe.metrics import forget_process
from trio_router.runtime.accepted import AcceptedFile
from trio_router.runtime.peers import Peers
from trio_router.runtime.reload import Reloader, Trigger
from trio_router.runtime.router import Router
from trio_router.serve.composing import application
from trio_router.serve.workers import ConnectionCounts, EvenTurn, Supervisor
from trio_router.server.accept import accept_from, url_of
from trio_router.server.connections import HttpServer
from trio_router.server.seats import raise_descriptor_limit

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from trio_router.api.app import RouterApp
    from trio_router.config.schema import Config
    from trio_router.observe.log import LogSettings
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.source import Source
    from trio_router.server.accept import Turn
    from trio_router.server.link import App

    OnStart = Callable[[Config, list[str]], None]
    # See `accept_from`, which takes connections off a kernel's socket.
    Handle = Callable[[Any], Awaitable[None]]
    Accept = Callable[[Any, Handle, trio.Nursery, Turn | None], Awaitable[None]]

logger = logging.getLogger("trio_router")
_LAST_WRITES = 0.3  # s that connections get for their last bytes once all requests have ended


async def serve(
    app: RouterApp,
    listeners: list[socket.socket],
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    turn: Callable[[HttpServer], Turn] | None = None,
    metrics: Sequence[socket.socket] = (),
    accept: Accept = accept_from,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves `app` until `shutdown_trigger` returns, then drains it for `graceful_timeout` seconds.

    Starts with the list of base URLs.  While draining, connections are still accepted, so that clients
    get an honest 503.  Those of `metrics` serve the metrics alone.  All are closed at the end.
    """
    router = app.router
    server, scraped = (http_server(router, who) for who in (app, MetricsApp(router, app.metrics)))
    whose = None if turn is None else turn(server)
    doors = [(listener, server.handle, whose) for listener in listeners]
    doors += [(listener, scraped.handle, None) for listener in metrics]
    with ExitStack() as closing:
        for listener, _, _ in doors:
            closing.enter_context(listener)
        async with router.running(), trio.open_nursery() as beside:
            for work in app.beside:
                beside.start_soon(work)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    for listener, handle, turns in doors:
                        accepting.start_soon(accept, listener, handle, connections, turns)
                    task_status.started([url_of(listener, server.scheme) for listener in listeners])
                    await shutdown_trigger()
                    await router.drain(router.generation.config.server.graceful_timeout)
                    accepting.cancel_scope.cancel()
                await server.end()
                await scraped.end()
                connections.cancel_scope.deadline = trio.current_time() + _LAST_WRITES
            beside.cancel_scope.cancel()


def http_server(router: Router, app: App) -> HttpServer:
    """A server of `app` that keeps to the configuration in force."""
    server = HttpServer(
        app,
        router.engine.alarms,
        router.clock.wall,
        max_connections=router.generation.config.server.max_connections,
    )

    def take(generation: Generation) -> None:
        server.use(*_client_side(generation))
        server.limit_connections(generation.config.server.max_connections)

    take(router.generation)
    router.on_change.append(take)
    return server


def _client_side(generation: Generation) -> tuple[float | None, ssl.SSLContext | None]:
    """What the connections of clients need of a configuration: the longest stall, and TLS."""
    return longest_stall(generation.config), generation.tls


def tune_collector() -> None:
    """Takes what was imported out of the collector's sight, and lets it look less often.

    Requests and connections leave it nothing of ours; what HTTP/2 leaves of its own is found
    young.  Measured over 2,000 leavers and 1,200 plain requests beside 200 streams: 411 ms in 342
    runs, up to 89 ms long, with Python's own thresholds; 26 ms in 2 runs with these.  Garbage that
    was not found young waits for half a million objects more, not for twenty millions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 5)
    gc.enable()


async def watch_hangups(reloader: Reloader) -> None:
    """SIGHUP makes `reloader` read the configuration's file again; it is never the end."""
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        async for _ in hangups:
            if reloader.source is None:
                fields = {"reason": "no file was given"}
                logger.info("SIGHUP: nothing was changed", extra={"fields": fields})
            else:
                await reloader.reload(Trigger.SIGNAL)


async def serve_until_signalled(
    app: RouterApp,
    listeners: list[socket.socket],
    on_start: Callable[[list[str]], None],
    reloader: Reloader,
    *,
    signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT),
    leash: int | None = None,
    **more: Any,
) -> None:
    """Serves until one of `signals`; a second one ends the drain at once.  `more` is for `serve`.

    SIGHUP makes `reloader` read the configuration again.  `leash` is a descriptor; when it becomes
    readable, that is a signal too.
    """
    told = trio.Event()
    with trio.open_signal_receiver(*signals) as received:

        async def watch_signals() -> None:
            number = await anext(received)
            logger.info("draining", extra={"fields": {"signal": signal.Signals(number).name}})
            told.set()
            await anext(received)
            app.router.hurry()

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(app, listeners, shutdown_trigger=told.wait, task_status=task_status, **more)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_signals)
            nursery.start_soon(watch_hangups, reloader)
            if leash is not None:
                nursery.start_soon(_watch_leash, leash, told)
            urls = await nursery.start(run)
            tune_collector()
            on_start(urls)


async def _watch_leash(leash: int, told: trio.Event) -> None:
    await trio.lowlevel.wait_readable(leash)
    logger.error("draining: the parent process is gone")
    told.set()


def run(
    config: Config,
    listeners: list[socket.socket],
    on_start: OnStart,
    logs: LogSettings,
    metrics: Sequence[socket.socket] = (),
    source: Source | None = None,
) -> None:
    """Serves in this process until SIGTERM or SIGINT.  `on_start` is told what is served, and where.

    `source` is where `config` comes from, if it is a file.
    """
    raise_descriptor_limit()
    serving = partial(serve_until_signalled, metrics=metrics)
    _run(config, listeners, on_start, serving, logs, source)


def run_workers(
    config: Config,
    listeners: list[socket.socket],
    count: int,
    on_start: OnStart,
    logs: LogSettings,
    shared: Path,
    metrics: Sequence[socket.socket] = (),
    source: Source | None = None,
) -> None:
    """Serves in `count` processes until SIGTERM or SIGINT.  They meet in the folder `shared`.

    `source` is where `config` comes from, if it is a file.
    """
    raise_descriptor_limit()
    board = ConnectionCounts(count)
    is_told = mmap.mmap(-1, 1)  # what is served is told once, by the first worker that serves
    tell_once = partial(_tell_once, on_start, is_told)

    def work(worker: int, leash: int) -> None:
        turn = partial(_even_turn, board, worker)
        serving = partial(
            serve_until_signalled, signals=(signal.SIGTERM,), leash=leash, metrics=metrics, turn=turn
        )
        peers = Peers(shared, worker, count)
        _run(config, listeners, tell_once, serving, logs, source, peers)

    gc.freeze()  # what was imported stays shared between the processes
    Supervisor(
        count,
        work,
        grace=partial(_grace, config, shared),
        on_death=partial(_note_death, board),
        on_failure=_note_failure,
    ).run()


def _tell_once(on_start: OnStart, is_told: mmap.mmap, config: Config, urls: list[str]) -> None:
    if not is_told[0]:
        is_told[0] = 1
        on_start(config, urls)


def _even_turn(board: ConnectionCounts, worker: int, server: HttpServer) -> Turn:
    return EvenTurn(board, worker, lambda: server.open)


def _grace(config: Config, shared: Path) -> float:
    """How long a drain may take, in seconds, as the workers have it."""
    accepted = AcceptedFile(shared).read()
    return config.server.graceful_timeout if accepted is None else accepted.grace


def _note_death(board: ConnectionCounts, worker: int, process_id: int, code: int) -> None:
    board.absent(worker)
    forget_process(process_id)
    if code:
        fields = {"worker": worker, "process": process_id, "code": code}
        write_line(SYSTEM.wall(), "a worker died", "error", **fields)


def _note_failure(worker: int, fault: OSError) -> None:
    now = SYSTEM.wall()
    write_line(now, "a worker could not be started", "error", worker=worker, reason=str(fault))


def _run(
    config: Config,
    listeners: list[socket.socket],
    on_start: OnStart,
    serving: Callable[..., Awaitable[None]],
    logs: LogSettings,
    source: Source | None = None,
    peers: Peers | None = None,
) -> None:
    accepted = None if peers is None or source is None else AcceptedFile(peers.folder).read()
    started, number = config, 1
    if accepted is not None and source is not None:  # this worker replaces one that has ended
        source = replace(source, text=accepted.text, certificate=accepted.certificate)
        number = accepted.number
        config = source.parse(accepted.text, source.host or started.server.host)
    with logging_to(settings=replace(logs, level=logs.level or config.log.level)):
        router = Router(config, number=number)
        if logs.level is None:
            router.on_change.append(lambda generation: log_level(generation.config.log.level))
        reloader = Reloader(router, source, peers, started)
        app = application(router, peers, reloader)

        def started_on(urls: list[str]) -> None:
            on_start(router.generation.config, urls)

        trio.run(partial(serving, app, listeners, started_on, reloader))


def longest_stall(config: Config) -> float | None:
    """The longest `stall` any model may have: what a write may take before nobody can want it."""
    limits: list[float | None] = [config.timeouts.stall]
    for provider in config.providers.values():
        base = config.timeouts.with_overrides(provider.timeouts)
        limits.append(base.stall)
        limits += [base.with_overrides(m.timeouts).stall for m in (provider.models or {}).values()]
    finite = [limit for limit in limits if limit is not None]
    return max(finite) if len(finite) == len(limits) else None
