"""The processes that tests start: marked, found again whoever their parents were, and ended.

Whoever starts a process may be killed, and a parent that is killed leaves its children behind.  What
all of them share is the environment that they were started with.

As a program: `processes.py MARK` ends the processes of a mark as soon as its standard input ends, as
it does with the process of the tests.  `processes.py MARK NAME SECONDS`, for CI, tells
of those whose environment has NAME=MARK for longer than that, ends them, and fails if there are any.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "TRIO_ROUTER_TESTS"
_END = 10.0  # s that a process may take to end when it is told to
_LOOK = 0.05  # s between two looks


def marked(mark: str, name: str = MARK) -> dict[int, str]:
    """The processes that were started with this mark, and their commands; none without /proc."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{name}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace").strip()
    return found


def left_running(mark: str, name: str = MARK, patience: float = _END) -> dict[int, str]:
    """Those that have not ended `patience` seconds later: they may be about to."""
    end = time.monotonic() + patience
    while (found := marked(mark, name)) and time.monotonic() < end:
        time.sleep(_LOOK)
    return found


def end_all(mark: str, name: str = MARK) -> None:
    """Kills them, and those that they start meanwhile."""
    while found := marked(mark, name):
        for process_id in found:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        time.sleep(_LOOK)


@contextmanager
def watched(mark: str) -> Iterator[None]:
    """From now on all that this process starts has the mark; it ends with the block or the process."""
    os.environ[MARK] = mark
    without = {name: value for name, value in os.environ.items() if name != MARK}
    watcher = subprocess.Popen(
        [sys.executable, "-S", __file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=without,
        start_new_session=True,  # a Ctrl-C at the terminal is not for it
    )
    try:
        yield
    finally:
        watcher.stdin.close()
        watcher.wait()


@contextmanager
def started(words: list[Any], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Runs a command for as long as the block; then it, and what it has started, is ended.

    It is told to, for who is killed cannot end its own children; those that are left are killed.
    """
    process = subprocess.Popen(words, text=True, start_new_session=True, **more)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def check(mark: str, name: str, patience: str) -> int:
    left = left_running(mark, name, float(patience))
    end_all(mark, name)
    for process_id, command in left.items():
        print(f"the tests left a process running: {process_id}: {command}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(check(*sys.argv[1:]))
    sys.stdin.buffer.read()
    end_all(sys.argv[1])
