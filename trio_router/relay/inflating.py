"""An upstream's compressed body, inflated as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import trio

from trio_router.wire.inflate import Inflater

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class InflatedReads:
    """Items of at most 64 KiB; other tasks run between two items.

    Raises InflateError if the body is not in `coding`, httpx.ReadError if it ends too early, and what
    reading `body` raises.
    """

    def __init__(self, body: AsyncIterator[bytes], coding: str) -> None:
        self._body = body
        self._inflater = Inflater(coding)

    def __aiter__(self) -> InflatedReads:
        return self

    async def __anext__(self) -> bytes:
        while True:
            await trio.lowlevel.checkpoint()
            made = self._inflater.step()
            if made:
                return made
            if made is None:
                await self._read()

    async def _read(self) -> None:
        try:
            data = await anext(self._body)
        except StopAsyncIteration:
            if not self._inflater.is_whole:
                raise httpx.ReadError("the compressed answer ends too early") from None
            raise
        self._inflater.receive_data(data)
