"""The router's command as a process, and its workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("trio-router")

CLEAN = {
    k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and k != "TRIO_ROUTER_CONFIG"
}


def run(*words: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, env=CLEAN, timeout=30, check=False, **more
    )


class Served:
    """A running router; `banner` is what it printed up to its last curl line."""

    def __init__(self, process: subprocess.Popen[str], banner: str) -> None:
        self.process = process
        self.banner = banner
        self.url = re.search(r"http://127\.0\.0\.1:\d+", banner)[0]

    def end(self, number: int = signal.SIGTERM, within: float = 5) -> int:
        self.process.send_signal(number)
        return self.process.wait(within)


@contextmanager
def served(
    *words: str,
    port: int = 0,
    stderr: int = subprocess.DEVNULL,
    until: str = 'demo/echo"',
    within: float = 60,
) -> Iterator[Served]:
    """`until` is in the line of the banner that is waited for: by default the embedded example's.

    After `within` seconds the process is killed.
    """
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", str(port), *words],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=CLEAN,
    )
    watch = threading.Timer(within, process.kill)
    watch.start()
    try:
        lines = []
        while until not in (line := process.stdout.readline()):
            assert line, "".join(lines)
            lines.append(line)
        yield Served(process, "".join([*lines, line]))
    finally:
        watch.cancel()
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


def ask(model: str, **fields) -> dict:
    return {"model": model, "messages": [{"role": "user", "content": "hello there"}], **fields}


def workers_of(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return [int(child) for child in children.split()]


def wait_for(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
