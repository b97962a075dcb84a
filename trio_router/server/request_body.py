"""A request's body as it comes in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from trio_router.errors import (
    InvalidRequest,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.server.body_coding import BodyCoding

UNASKED = 1 << 16  # bytes of a body that are read before an endpoint asks for it
_FULL = 1 << 18  # waiting bytes of a streamed body beyond which no more is read from the client
_ROOM = 1 << 17  # waiting bytes at which reading resumes
_COPIED = 65536  # bytes: a whole body up to this long becomes `bytes`, a longer one is a bytearray
PATIENCE = 60  # s over which the rate of a body is measured
LEAST_RATE = 500  # bytes a second, on average; a slower body is given up with 408


class RequestBody:
    """A body of at most `limit` bytes; a larger one is dropped.  `declared` is its content-length.

    A body that `is_streamed` is taken in pieces with `next`, any other one whole with `read`.
    `on_wanted` is called once, when an endpoint first waits for the body; `on_taken` whenever less of
    it waits, and when the rest is not wanted.

    This class decides how much of a body may be in memory, for every protocol.  Nobody asks for a body
    (`read`, `next`, `discard`) before its request has its turn and its key was checked; until then
    `is_full` is true as soon as UNASKED bytes wait.  Whoever feeds a body keeps two rules: it feeds at
    most one read at a time, and after each `feed` it awaits `wait_room` before it takes more of this
    body from the client (over HTTP/2: before it gives the stream more window).  An endpoint keeps one
    rule: it checks the key before it asks for the body.
    """

    def __init__(self, limit: int, declared: int | None, *, is_streamed: bool = False) -> None:
        self.declared = declared
        self._limit = limit
        self._is_streamed = is_streamed
        self._pieces: deque[bytes] = deque()  # a streamed body
        self._data = bytearray()  # a whole body, joined at once: a client may cut it very small
        self._size = 0
        self._taken = 0
        self._is_refused = declared is not None and declared > limit
        self._is_asked_for = False
        self.is_unwanted = False
        self._changed: trio.Event | None = None
        self._emptied: trio.Event | None = None
        self.coding: BodyCoding | None = None  # which `read` undoes
        self.on_wanted: Callable[[], Awaitable[None]] | None = None
        self.on_taken: Callable[[], None] | None = None
        self.is_torn = False
        self.is_given_up = False  # the client has stopped sending: nobody should wait for the rest
        self.is_complete = False  # nothing more will come

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._size

    @property
    def is_refused(self) -> bool:
        """It is larger than it may be."""
        return self._is_refused

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body from its connection."""
        self._size += len(data)
        if self._size > self._limit:
            self._is_refused = True
            self._drop()
            self._tell()
        if self._is_refused or self.is_unwanted:
            return
        if self._is_streamed:
            self._pieces.append(data)
            self._tell()
        else:
            self._data += data

    def end(self) -> None:
        """The whole body has come."""
        self.is_complete = True
        self._tell()

    def fail(self) -> None:
        """The framing is broken: nothing more is fed."""
        self.is_torn = True
        self.end()

    async def read(self, patience: float = PATIENCE) -> bytes | bytearray:
        """The whole body.  Raises RequestTooLarge as soon as its size is known to be too large.

        Raises InvalidRequest if its framing is broken, and RequestTimeout if it comes more slowly than
        LEAST_RATE over `patience` seconds.  Raises UnsupportedMediaType for a coding that is not known.
        """
        if self.coding is not None:
            self.coding.coding()
        await self._want()
        while not self.is_complete and not self._is_refused:
            size = self._size
            with trio.move_on_after(patience) as limit:
                await self._change()
            if limit.cancelled_caught and self._size - size < patience * LEAST_RATE:
                raise self.given_up(self._size - size, patience)
        self._check()
        data: bytes | bytearray
        data, self._data = self._data, bytearray()
        if self.coding is not None:
            data = await self.coding.undo(data, self._limit)
        return data if len(data) > _COPIED else bytes(data)

    async def next(self) -> bytes:
        """The next piece of a streamed body, empty at the end.  Raises like `read`; has no timeout.

        What is streamed is passed on as it comes: a coding is not undone, but refused.
        """
        if self.coding is not None and self.coding.coding():
            raise UnsupportedMediaType("an upload must not be compressed")
        await self._want()
        while not (self._pieces or self.is_complete or self._is_refused):
            await self._change()
        if self._is_refused or not self._pieces:
            self._check()
            return b""
        piece = self._pieces.popleft()
        self._taken += len(piece)
        if self._emptied is not None and self._waiting <= _ROOM:
            self._emptied.set()
        if self.on_taken is not None:
            self.on_taken()
        return piece

    def given_up(self, size: int, seconds: float) -> RequestTimeout:
        """The error for a client that sent too little: `size` bytes in `seconds`."""
        self.is_given_up = True
        what = f"only {size} bytes" if size else "nothing"
        return RequestTimeout(f"{what} came of the request's body for {seconds:g} s")

    async def wait_complete(self) -> None:
        """Waits until all of it has come, and drops it."""
        self.discard()
        while not self.is_complete:
            await self._change()

    def discard(self) -> None:
        """Drops what waits and what is still to come."""
        self.is_unwanted = True
        self._drop()
        if self._emptied is not None:
            self._emptied.set()
        if self.on_taken is not None:
            self.on_taken()

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be read from the client."""
        if self._is_asked_for or self.is_unwanted:
            return bool(self._pieces) and self._waiting > _FULL
        return self._size >= UNASKED and not (self.is_complete or self._is_refused)

    async def wait_room(self) -> None:
        """Waits until `is_full` is false and half of the buffer is free."""
        while self.is_full:
            self._emptied = trio.Event()
            await self._emptied.wait()
            self._emptied = None

    @property
    def _waiting(self) -> int:
        return self._size - self._taken

    def _drop(self) -> None:
        self._pieces.clear()
        self._data.clear()

    def _check(self) -> None:
        if self._is_refused:
            raise RequestTooLarge(f"the request's body has more than {self._limit} bytes")
        if self.is_torn:
            raise InvalidRequest("the request's body is not framed as HTTP has it")

    async def _want(self) -> None:
        if not self._is_asked_for:
            self._is_asked_for = True
            if self._emptied is not None:
                self._emptied.set()
        if not self.is_complete and not self._is_refused and self.on_wanted is not None:
            await self.on_wanted()
            self.on_wanted = None

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
