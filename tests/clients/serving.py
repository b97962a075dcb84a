"""A router that really runs, as a process with its own configuration, before scripted upstreams."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from tests.clients.saying import PROVIDERS
from tests.serve.command import served
from trio_router.demo import DemoUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Serving:
    def __init__(self, url: str, upstream: DemoUpstream) -> None:
        self.url = url
        self.upstream = upstream


@asynccontextmanager
async def serving(
    folder: Path, settings: str = "", providers: str = PROVIDERS
) -> AsyncIterator[Serving]:
    """`folder` is where the configuration's file goes."""
    async with trio.open_nursery() as nursery:
        upstream = DemoUpstream()
        port = await nursery.start(upstream.serve)
        file = folder / "router.yaml"
        text = "\n".join(["server: {demo: true}", settings, providers])
        file.write_text(text.replace("http://upstream", f"http://127.0.0.1:{port}"))
        router = served("--config", str(file))
        process = await trio.to_thread.run_sync(router.__enter__)
        try:
            yield Serving(process.url, upstream)
        finally:
            router.__exit__(None, None, None)
        nursery.cancel_scope.cancel()
