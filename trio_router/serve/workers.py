"""Several processes on one address: started, spread evenly, replaced when they die, drained together.

The parent only watches: it opens the listening sockets, forks before anything runs (so all processes
share what was imported, and a replacement starts in milliseconds), and passes signals on.  It keeps the
sockets open, so that connections wait while a worker is replaced and none is refused.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import traceback
from typing import TYPE_CHECKING

import trio

from trio_router.clock.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_router.clock.clock import Clock

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_SHORT_LIFE = 2.0  # s; a worker that lived no longer is replaced after a pause
_MAX_PAUSE = 10.0  # s
_AFTER_GRACE = 5.0  # s beyond the drain's own limits, until a worker that will not leave is killed
_AHEAD = 0.002  # s between two looks of a worker that has more connections than another
_PATIENCE = 10  # looks; then it accepts all the same: the other may be stuck
_ABSENT = 1 << 40  # connections of a worker that is not there
_COUNT = struct.Struct("q")


class ConnectionCounts:
    """How many connections each worker has open: memory that all of them see."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._memory = mmap.mmap(-1, _COUNT.size * workers)
        for worker in range(workers):
            self.note(worker, _ABSENT)

    def note(self, worker: int, count: int) -> None:
        _COUNT.pack_into(self._memory, _COUNT.size * worker, count)

    def absent(self, worker: int) -> None:
        self.note(worker, _ABSENT)

    def fewest(self) -> int:
        counts: tuple[int, ...] = struct.unpack_from(f"{self._workers}q", self._memory)
        return min(counts)


class EvenTurn:
    """Lets a worker accept when none has fewer connections than it.  See `accept.Turn`."""

    def __init__(self, board: ConnectionCounts, worker: int, count: Callable[[], int]) -> None:
        self._board = board
        self._worker = worker
        self._count = count

    async def wait(self) -> None:
        for _ in range(_PATIENCE):
            mine = self._count()
            self._board.note(self._worker, mine)
            if mine <= self._board.fewest():
                return
            await trio.sleep(_AHEAD)


class Supervisor:
    """Keeps `count` processes running `work`, until it is told to stop.

    `work` is given its worker's number and a descriptor that becomes readable if the parent dies.  It
    must leave then and on SIGTERM, draining for up to `grace` seconds; on a second SIGTERM at once.
    SIGHUP is passed on to the first worker that runs, which tells the others, and ends none of them.
    `grace` is asked when the time comes: it may have changed since the start.
    `on_death` is told the worker, process id and exit code (negative: the signal) of each that ends,
    `on_failure` of each that could not be started.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int, int], None],
        *,
        grace: Callable[[], float],
        on_death: Callable[[int, int, int], None],
        on_failure: Callable[[int, OSError], None],
        clock: Clock = SYSTEM,
    ) -> None:
        self._monotonic = clock.monotonic
        self._count = count
        self._work = work
        self._grace = grace
        self._on_death = on_death
        self._on_failure = on_failure
        self._running: dict[int, tuple[int, float]] = {}  # process id -> worker, when it was started
        self._due: dict[int, float] = {}  # worker -> when it is to be started
        self._pause = [0.0] * count
        self._kill_at: float | None = None

    def run(self) -> None:
        """Returns when all have ended after SIGTERM or SIGINT.  No thread may run yet: it forks."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._leash, self._held = os.pipe()
        try:
            self._due = dict.fromkeys(range(self._count), 0.0)
            while self._running or self._kill_at is None:
                self._start_what_is_due(before)
                self._take(self._next_signal())
        finally:
            os.close(self._leash)
            os.close(self._held)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _next_signal(self) -> int | None:
        moments = list(self._due.values())
        if self._kill_at is not None:
            moments.append(self._kill_at)
        if not moments:
            return signal.sigwait(_SIGNALS)
        info = signal.sigtimedwait(_SIGNALS, max(0.0, min(moments) - self._monotonic()))
        return None if info is None else info.si_signo

    def _take(self, number: int | None) -> None:
        if number == signal.SIGCHLD:
            for pid, status in _ended():
                self._note_end(pid, status)
        elif number == signal.SIGHUP:
            self._send_first(signal.SIGHUP)
        elif number is not None:
            self._stop()
        elif self._kill_at is not None and self._monotonic() >= self._kill_at:
            self._send(signal.SIGKILL)

    def _stop(self) -> None:
        self._due.clear()
        if self._kill_at is None:
            self._kill_at = self._monotonic() + self._grace() + _AFTER_GRACE
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._running:
            os.kill(pid, number)

    def _send_first(self, number: signal.Signals) -> None:
        if self._running:
            os.kill(min(self._running, key=lambda pid: self._running[pid][0]), number)

    def _start_what_is_due(self, mask: set[int | signal.Signals]) -> None:
        now = self._monotonic()
        for worker in [w for w, at in self._due.items() if at <= now]:
            try:
                pid = os.fork()
            except OSError as fault:  # no process or no memory left: what runs goes on
                self._on_failure(worker, fault)
                self._due[worker] = now + _MAX_PAUSE
                continue
            del self._due[worker]
            if pid == 0:
                self._live(worker, mask)
            self._running[pid] = worker, now

    def _live(self, worker: int, mask: set[int | signal.Signals]) -> None:
        """A child's whole life."""
        code = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent passes it on
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._work(worker, self._leash)
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:  # noqa: ASYNC103 - a process of its own ends here
            traceback.print_exc()
        finally:
            os._exit(code)

    def _note_end(self, pid: int, status: int) -> None:
        worker, started = self._running.pop(pid)
        self._on_death(worker, pid, os.waitstatus_to_exitcode(status))
        if self._kill_at is not None:
            return
        now = self._monotonic()
        lived_short = now - started < _SHORT_LIFE
        longer = min(_MAX_PAUSE, max(0.25, self._pause[worker] * 2))
        self._pause[worker] = longer if lived_short else 0.0
        self._due[worker] = now + self._pause[worker]


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status
