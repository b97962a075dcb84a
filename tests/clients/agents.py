"""Real agents as processes, against a router that really runs and upstreams that are scripted.

Their networks are closed but for loopback, as far as an environment can close them; the whole run can
be done in a network namespace of its own (`unshare -rn`, then `ip link set lo up`).
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.clients.matrix import NODE as PACKAGES, program_at
from tests.clients.speech import PROVIDERS
from tests.serve.command import served
from trio_router.testing import DemoUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.serve.command import Served

NODE = PACKAGES / "node_modules" / ".bin"
PATIENCE = 150  # s that an agent may take, on a busy machine
_DEAD = "http://127.0.0.1:9"  # a proxy that is not there


def program(name: str) -> str:
    """An agent's command, see `matrix.program_at`."""
    found = program_at(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Agents:
    """`home` is the agent's home, `work` the folder that it works in."""

    def __init__(self, folder: Path, served: Served, upstream: DemoUpstream) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.url = served.url
        self.process = served.process
        self.upstream = upstream

    def env(self, **more: str) -> dict[str, str]:
        proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        closed = dict.fromkeys((*proxies, *map(str.lower, proxies)), _DEAD)
        open_ = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "dumb", "LANG": "C.UTF-8"}
        return own | closed | open_ | more

    async def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        """To the agent's end; it gets no input."""
        with trio.fail_after(PATIENCE):
            return await trio.run_process(
                words,
                env=self.env(**more),
                cwd=self.work,
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )

    async def leave(self, *words: str, **more: str) -> None:
        """Ends the agent while it is being answered; returns when its upstream was released."""
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process(
                words,
                env=self.env(**more),
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                await self.upstream.wait_open(1)
            finally:  # with all that it has started
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            await self.upstream.wait_closed_early()


@asynccontextmanager
async def agents(folder: Path, settings: str = "", *, routes: str = "") -> AsyncIterator[Agents]:
    """A router with a provider for each dialect, whose upstreams say what `upstream.script` says."""
    upstream = DemoUpstream()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(upstream.serve)
        file = folder / "router.yaml"
        server = "server: {demo: true, reload: false%s}" % (f", {settings}" if settings else "")
        file.write_text(f"{server}\n{PROVIDERS.format(url=f'http://127.0.0.1:{port}')}\n{routes}")
        opened = served("--config", str(file), within=2 * PATIENCE)
        running = await trio.to_thread.run_sync(opened.__enter__)
        try:
            yield Agents(folder, running, upstream)
        finally:
            with trio.CancelScope(shield=True):
                leave = partial(opened.__exit__, None, None, None)
                await trio.to_thread.run_sync(leave)
        nursery.cancel_scope.cancel()
