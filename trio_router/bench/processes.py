"""The processes of a benchmark: started, waited for, measured, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_READY = 30.0  # s that a process may take until it listens
_END = 10.0  # s that it may take to leave


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(port: int, log: Path, *words: str) -> Iterator[int]:
    """Runs `python WORDS` until the block ends, and gives its process id once it listens on `port`.

    Its standard error is in `log`.      Raises RuntimeError if it does not come to listen.
    """
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=errors)
    try:
        _wait_until_it_listens(process, port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(process_id: int) -> float | None:
    """User and system time of a process and its children so far; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    own = ticks / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) or 0.0 for child in children)


def memory_mib(process_id: int) -> float | None:
    """The memory of a process and its children that is resident, shared pages counted for each."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    except OSError:
        return None
    own = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return own + sum(memory_mib(int(child)) or 0.0 for child in children)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _READY
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{' '.join(map(str, process.args))} does not listen")  # type: ignore[arg-type]
