"""The tasks of one request, in a nursery that is opened for the first of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class RequestTasks:
    """A request's nursery.  Most answers that come whole start no task, and go without one.

    `run` does the request's own work; that work calls `nursery` where it needs one, with no scope of
    its own open.  A nursery that nobody uses takes 10 us, 4 % of a plain request.
    """

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._open = AsyncExitStack()
        self._nursery: trio.Nursery | None = None

    def cancel(self) -> None:
        """Cancels the work and all tasks, at once or as soon as the work begins."""
        self._scope.cancel()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does `work`; when it has ended, cancels the tasks that still run, and waits for them.

        Raises what `work` raises, and an exception group with what tasks raise.
        """
        with self._scope:
            async with self._open:
                await work()
                if self._nursery is not None and self._nursery.child_tasks:
                    self._nursery.cancel_scope.cancel()

    async def nursery(self) -> trio.Nursery:
        """The nursery, opened by the first call."""
        if self._nursery is None:
            self._nursery = await self._open.enter_async_context(trio.open_nursery())
        return self._nursery
