"""A router in memory whose configuration is a file that tests write."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.stack import PROVIDERS, memory_stack
from trio_router.runtime.reload import Reloader, ReloadReport, Trigger
from trio_router.runtime.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.stack import Stack


async def until(condition: Callable[[], object], seconds: float) -> None:
    """Waits until `condition` holds.  Raises TooSlowError after so many seconds."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - of files and sockets there is no event
            await trio.sleep(0.01)


class Reloaded:
    """`stack`, and the file that its configuration is in."""

    def __init__(self, stack: Stack, path: Path, text: str) -> None:
        self.stack = stack
        self.router = stack.router
        self.path = path
        path.write_text(text)
        self.reloader = Reloader(stack.router, Source(path, text, {}))

    def write(self, settings: str = "", providers: str = PROVIDERS) -> None:
        self.path.write_text(f"{settings}\n{providers}")

    async def use(
        self, settings: str = "", providers: str = PROVIDERS, trigger: Trigger = Trigger.SIGNAL
    ) -> ReloadReport:
        self.write(settings, providers)
        return await self.reloader.reload(trigger)

    async def ask(self, model: str = "any/echo", key: str | None = None, **fields: Any) -> int:
        """The status of a chat."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return (await self.stack.ask(body, **headers)).status_code

    async def metric(self, name: str) -> float | None:
        """A figure of `/metrics`, by its name without the prefix, with its labels."""
        for line in self.router.metrics.text().decode().splitlines():
            if line.startswith(f"trio_router_{name} "):
                return float(line.rpartition(" ")[2])
        return None


@asynccontextmanager
async def reloaded(
    folder: Path, settings: str = "", providers: str = PROVIDERS, *, tight: bool = False
) -> AsyncIterator[Reloaded]:
    async with memory_stack(settings, providers, tight=tight) as stack:
        yield Reloaded(stack, folder / "router.yaml", f"{settings}\n{providers}")
