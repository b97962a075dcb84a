"""trio, run so that a seed decides everything: clock, order of tasks, ids, wall time, threads."""

from __future__ import annotations

import gc
import hashlib
import logging
import time
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio._core import _run as trio_run
from trio.testing import MockClock

from trio_router.clock.clock import Clock
from trio_router.observe import lag
from trio_router.runtime import reload
from trio_router.server import http1_link
from trio_router.simulation import passes, scopes
from trio_router.simulation.chance import Chance
from trio_router.simulation.operating import watch_files
from trio_router.simulation.stage import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_router.simulation.stage import Scheduler

T = TypeVar("T")
# All worlds begin at the same time, so the same seconds come again and again.
_date_of = lru_cache(maxsize=10_000)(http1_link._date_of.__wrapped__)
_LAG_EVERY = 20.0  # s: nothing is ever late here, and looking four times a second is half the work
WALL = 1_900_000_000.0 - BEGINNING  # Unix time of the stage's 0


class _Order:
    """Stands where trio keeps its random generator: shuffles the tasks of one pass."""

    def __init__(self, chance: Chance) -> None:
        self.random = chance.random

    def shuffle(self, tasks: list[Any]) -> None:
        count = len(tasks)
        if count == 1:
            return
        random = self.random
        if count == 2:
            if random() < 0.5:
                tasks.reverse()
            return
        for end in range(count - 1, 0, -1):
            other = int(random() * (end + 1))
            tasks[end], tasks[other] = tasks[other], tasks[end]


# It takes 60 ms, and worlds have the same few keys.
_scrypt = lru_cache(maxsize=16)(hashlib.scrypt)


def run(stage: Scheduler, seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run(main)` under the time of `stage`, the same each time for the same seed."""
    clock = MockClock()
    # The run loop asks for a clock; ours is one whose time is the stage's.
    clock.current_time = stage.time  # type: ignore[method-assign]
    with _seeded(stage, seed):
        return trio.run(main, clock=clock)


def clock_of(stage: Scheduler, chance: Chance) -> Clock:
    """The time of `stage` and the random of `chance`, as a router takes them."""

    def token(size: int) -> bytes:
        return bytes(chance.below(256) for _ in range(size))

    return Clock(lambda: WALL + stage.now, stage.time, chance.random, token)


@contextmanager
def _seeded(stage: Scheduler, seed: int) -> Iterator[None]:
    order = Chance(seed, "order")
    replaced: list[tuple[Any, str, Any]] = [
        (trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        (trio_run, "_r", _Order(order)),
        (trio_run, "unrolled_run", passes.loop_for(stage, order.random)),
        (trio_run.Runner, "reschedule", passes.reschedule),
        (trio_run.Runner, "current_time", lambda _: stage.now),
        (trio_run.CancelStatus, "__attrs_post_init__", scopes.begun),
        (trio_run.CancelScope, "_might_change_registered_deadline", scopes.changing_deadline),
        (trio_run.CancelScope, "__enter__", scopes.entered),
        (trio_run.CancelScope, "_close", scopes.left),
        (trio.to_thread, "run_sync", run_here),
        (time, "time", lambda: WALL + stage.now),
        (time, "time_ns", lambda: int((WALL + stage.now) * 1e9)),
        (lag, "_EVERY", _LAG_EVERY),
        (http1_link, "_date_of", _date_of),
        (reload, "watch_files", watch_files),
        (hashlib, "scrypt", _scrypt),
        (logging, "logThreads", False),  # nobody reads it
        (logging, "logMultiprocessing", False),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in replaced]
    was_collecting = gc.isenabled()
    gc.disable()  # what it closes, and when, depends on the Python that runs
    try:
        for where, name, value in replaced:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
        if was_collecting:
            gc.enable()


async def run_here(work: Callable[..., T], *args: Any, **_: Any) -> T:
    """In place of a thread: the work is done between two checkpoints."""
    await trio.lowlevel.checkpoint()
    made = work(*args)
    await trio.lowlevel.checkpoint()
    return made
