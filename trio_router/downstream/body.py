"""A request's body as it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_router.errors import InvalidRequest, RequestTimeout, RequestTooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 60  # s that a client may be silent in the middle of its request


class RequestBody:
    """Of a body over `limit` bytes nothing is kept.  `declared` is its content-length, if it has one.

    `on_wanted` is called once, when somebody first waits for the body.
    """

    def __init__(self, limit: int, declared: int | None) -> None:
        self._limit = limit
        self._data = bytearray()  # no list of pieces: a client may cut them very small
        self._size = 0
        self._is_refused = declared is not None and declared > limit
        self._changed: trio.Event | None = None
        self.on_wanted: Callable[[], Awaitable[None]] | None = None
        self.is_torn = False
        self.is_complete = False  # or will never be

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._is_refused = True
            self._data.clear()
            self._tell()
        if not self._is_refused:
            self._data += data

    def end(self) -> None:
        self.is_complete = True
        self._tell()

    def fail(self) -> None:
        """What comes is no body: nothing more will be fed."""
        self.is_torn = True
        self.end()

    async def read(self, patience: float = PATIENCE) -> bytes:
        """The whole body.  Raises RequestTooLarge as soon as it is known to be too large.

        Raises InvalidRequest if it is not framed as HTTP has it, and RequestTimeout if nothing of it
        comes for `patience` seconds.
        """
        if not self.is_complete and not self._is_refused and self.on_wanted is not None:
            await self.on_wanted()
            self.on_wanted = None
        while not self.is_complete and not self._is_refused:
            size = self._size
            with trio.move_on_after(patience) as limit:
                await self._change()
            if limit.cancelled_caught and self._size == size:
                raise RequestTimeout(f"nothing came of the request's body for {patience:g} s")
        if self._is_refused:
            raise RequestTooLarge(f"the request's body has more than {self._limit} bytes")
        if self.is_torn:
            raise InvalidRequest("the request's body is not framed as HTTP has it")
        data, self._data = bytes(self._data), bytearray()
        return data

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
