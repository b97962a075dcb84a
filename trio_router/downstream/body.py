"""A request's body as it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_router.errors import InvalidRequest, RequestTooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class RequestBody:
    """Of a body over `limit` bytes nothing is kept.  `declared` is its content-length, if it has one.

    `on_wanted` is called once, when somebody first waits for the body.
    """

    def __init__(self, limit: int, declared: int | None) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._is_refused = declared is not None and declared > limit
        self._changed: trio.Event | None = None
        self.on_wanted: Callable[[], Awaitable[None]] | None = None
        self._is_torn = False
        self.is_complete = False  # or will never be

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._is_refused = True
            self._parts.clear()
            self._tell()
        if not self._is_refused:
            self._parts.append(data)

    def end(self) -> None:
        self.is_complete = True
        self._tell()

    def fail(self) -> None:
        """What comes is no body: nothing more will be fed."""
        self._is_torn = True
        self.end()

    async def read(self) -> bytes:
        """The whole body.  Raises RequestTooLarge as soon as it is known to be too large.

        Raises InvalidRequest if it is not framed as HTTP has it.
        """
        if not self.is_complete and not self._is_refused and self.on_wanted is not None:
            await self.on_wanted()
            self.on_wanted = None
        while not self.is_complete and not self._is_refused:
            await self._change()
        if self._is_refused:
            raise RequestTooLarge(f"the request's body has more than {self._limit} bytes")
        if self._is_torn:
            raise InvalidRequest("the request's body is not framed as HTTP has it")
        parts, self._parts = self._parts, []
        return b"".join(parts)

    async def wait_complete(self) -> None:
        while not self.is_complete:
            await self._change()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
