"""A form that passes through as fast as the upstream takes it, with the model's name rewritten.

The model decides which upstream is asked, so what comes before its name is kept: some of it in memory,
the rest in an unnamed file.
"""

from __future__ import annotations

import tempfile
from collections import deque
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING

import trio

from trio_router.errors import InvalidRequest
from trio_router.server.request_body import LEAST_RATE, PATIENCE
from trio_router.wire.multipart import FieldRewriter, MultipartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio_router.server.request_body import RequestBody

_IN_MEMORY = 1 << 20  # bytes that are kept in memory before the model is known
_PIECE = 65536  # bytes read from the file at once


@asynccontextmanager
async def form(
    body: RequestBody, boundary: bytes, rewrite: Callable[[str], str], silence: float
) -> AsyncIterator[Form]:
    """A form of `body`, read up to its model; see FieldRewriter for `rewrite`.

    Raises RouterError, also while it is iterated.
    """
    found = Form(ClientPieces(body, silence), boundary, rewrite)
    try:
        await found.find_model()
        yield found
    finally:
        found.close()


class ClientPieces:
    """A body's pieces.  A client that sends nothing for `silence` seconds is refused.

    So is one that was waited for PATIENCE seconds, in all, and sent less than LEAST_RATE demands; the
    time that it is held back for the upstream does not count.
    """

    def __init__(self, body: RequestBody, silence: float) -> None:
        self._body = body
        self._silence = silence
        self._waited = 0.0  # s
        self._came = 0  # bytes while it was waited for
        self.declared = body.declared

    def __aiter__(self) -> ClientPieces:
        return self

    async def __anext__(self) -> bytes:
        began = trio.current_time()
        with trio.move_on_after(self._silence) as limit:
            piece = await self._body.next()
        if limit.cancelled_caught:
            raise self._body.given_up(0, self._silence)
        if not piece:
            raise StopAsyncIteration
        self._check_rate(len(piece), trio.current_time() - began)
        return piece

    def _check_rate(self, size: int, waited: float) -> None:
        self._waited += waited
        self._came += size
        if self._waited < PATIENCE:
            return
        if self._came < self._waited * LEAST_RATE:
            raise self._body.given_up(self._came, self._waited)
        self._waited, self._came = 0.0, 0


class Form:
    """The rewritten body, to be iterated once.  `has_model` says whether there was one."""

    def __init__(self, pieces: ClientPieces, boundary: bytes, rewrite: Callable[[str], str]) -> None:
        self._pieces = pieces
        self._rewriter = FieldRewriter(boundary, "model", rewrite)
        self._kept = _Kept()
        self._has_ended = False

    @property
    def has_model(self) -> bool:
        return self._rewriter.is_rewritten

    @property
    def length(self) -> int | None:
        """Bytes of the whole, once the model has been found; None if the client did not say."""
        declared = self._pieces.declared
        return None if declared is None else declared + self._rewriter.growth

    async def find_model(self) -> None:
        """Reads the form to its model, or its end, and keeps what it reads.  Raises RouterError."""
        while not self.has_model and not self._has_ended:
            await self._kept.add(await self._more())

    def __aiter__(self) -> Form:
        return self

    async def __anext__(self) -> bytes:
        if (kept := await self._kept.next()) is not None:
            return kept
        while not self._has_ended:
            if made := await self._more():
                return made
        raise StopAsyncIteration

    def close(self) -> None:
        """Frees what was kept."""
        self._kept.close()

    async def _more(self) -> bytes:
        try:
            piece = await anext(self._pieces, b"")
            if piece:
                return self._rewriter.receive_data(piece)
            self._has_ended = True
            self._rewriter.receive_eof()
        except MultipartError as fault:
            raise InvalidRequest(f"the form is broken: {fault}", param=fault.field) from None
        return b""


class _Kept:
    """Bytes in order: the first of them in memory, the others in a file that threads write and read."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._file: IO[bytes] | None = None
        self._is_rewound = False

    async def add(self, data: bytes) -> None:
        if self._size + len(data) <= _IN_MEMORY:
            self._size += len(data)
            self._parts.append(data)
            return
        self._size = _IN_MEMORY
        if self._file is None:
            self._file = await trio.to_thread.run_sync(tempfile.TemporaryFile)
        await trio.to_thread.run_sync(self._file.write, data)

    async def next(self) -> bytes | None:
        """The next piece, which is let go; None at the end."""
        if self._parts:
            return self._parts.popleft()
        if self._file is None:
            return None
        if not self._is_rewound:
            self._is_rewound = True
            await trio.to_thread.run_sync(self._file.seek, 0)
        return await trio.to_thread.run_sync(self._file.read, _PIECE) or None

    def close(self) -> None:
        self._parts.clear()
        if self._file is not None:
            self._file.close()
