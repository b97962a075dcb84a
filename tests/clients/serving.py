"""A router that really runs, as a process with its own configuration, before scripted upstreams."""

from __future__ import annotations

import re
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from tests.clients.saying import PROVIDERS
from tests.serve.command import CLEAN, COMMAND
from trio_router.demo import DemoUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_URL = re.compile(rb"http://127\.0\.0\.1:\d+(?=\s)")
_PATIENCE = 90  # s until it serves, on a busy machine


@dataclass
class Serving:
    url: str
    upstream: DemoUpstream


@asynccontextmanager
async def serving(
    folder: Path, settings: str = "", providers: str = PROVIDERS
) -> AsyncIterator[Serving]:
    """`folder` is where the configuration's file goes."""
    async with trio.open_nursery() as nursery:
        upstream = DemoUpstream()
        port = await nursery.start(upstream.serve)
        file = folder / "router.yaml"
        file.write_text(
            f"{settings}\n{providers}".replace("http://upstream", f"http://127.0.0.1:{port}")
        )
        run = partial(
            trio.run_process,
            [COMMAND, "serve", "--port", "0", "--config", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=CLEAN,
            check=False,
        )
        process = await nursery.start(run)
        with trio.fail_after(_PATIENCE):
            url = await _url(process.stdout)
        yield Serving(url, upstream)
        nursery.cancel_scope.cancel()


async def _url(told: trio.abc.ReceiveStream) -> str:
    """Where it serves, from what it prints first."""
    banner = b""
    while (found := _URL.search(banner)) is None:
        data = await told.receive_some()
        assert data, banner.decode()
        banner += data
    return found[0].decode()
