"""The router's command as a process, in front of a scripted upstream for each dialect.

Both run beside the tests, so that clients can be used as they are: one pair serves a module's tests.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from tests.clients.weather import PROVIDERS
from tests.serve.command import served
from trio_router.demo import DemoUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trio_router.demo import Answer, SeenRequest

    Script = Callable[[SeenRequest], Answer]


class _Upstream:
    """A scripted upstream in a thread of its own."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._begun: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=trio.run, args=[self._run])
        self._thread.start()
        self.port = self._begun.get(timeout=10)

    async def _run(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.demo = DemoUpstream()
        self.demo.script = self._script
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._begun.put(await nursery.start(self.demo.serve))

    def end(self) -> None:
        self.token.run_sync_soon(self._scope.cancel)
        self._thread.join(10)


class Running:
    """`url` is the router's.  What it asks arrives at the upstream."""

    def __init__(self, url: str, upstream: _Upstream) -> None:
        self.url = url
        self._upstream = upstream

    @property
    def asked(self) -> list[SeenRequest]:
        """What the upstream was asked, by all tests so far."""
        return self._upstream.demo.requests

    def wait_released(self) -> None:
        """Waits until a client's leaving has closed a stream of the upstream's."""

        async def wait() -> None:
            with trio.fail_after(5):
                await self._upstream.demo.wait_closed_early()

        trio.from_thread.run(wait, trio_token=self._upstream.token)

    def program(self, *words: str | Path, within: float = 240, **environ: str) -> str:
        """What a program prints."""
        done = subprocess.run(
            list(map(str, words)),
            env={**os.environ, **environ},
            timeout=within,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@contextmanager
def running_router(
    folder: Path, script: Script, settings: str = "", providers: str = PROVIDERS
) -> Iterator[Running]:
    """The configuration's file is in `folder`; the names of providers are those of dialects."""
    upstream = _Upstream(script)
    try:
        file = folder / "router.yaml"
        where = providers.replace("http://upstream", f"http://127.0.0.1:{upstream.port}")
        file.write_text(f"{settings}\n{where}")
        with served("--config", str(file), until="curl", within=600) as router:
            yield Running(router.url, upstream)
    finally:
        upstream.end()
