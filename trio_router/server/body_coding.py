"""What a client has done to its request's body (`Content-Encoding`), and how it is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_router.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType
from trio_router.wire import unzstd
from trio_router.wire.inflate import CODINGS, InflateError, Inflater, coding_of

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_ENCODING = b"content-encoding"
_ZSTD = "zstd"


class BodyCoding:
    """The coding that the headers of a request tell."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._told = [v.decode("latin-1") for k, v in headers if k == CONTENT_ENCODING]

    def coding(self) -> str:
        """Its name, empty if there is none.  Raises UnsupportedMediaType for one that nobody undoes."""
        try:
            coding = coding_of(self._told, (*CODINGS, _ZSTD))
        except InflateError as fault:
            known = ", ".join((*CODINGS, _ZSTD))
            raise UnsupportedMediaType(f"the request's body: {fault}; send {known} or none") from None
        if coding == _ZSTD and not unzstd.IS_THERE:
            what = "zstd needs `pip install 'trio-router[zstd]'` here; send gzip or none"
            raise UnsupportedMediaType(f"the request's body: {what}")
        return coding

    async def undo(self, data: bytes | bytearray, limit: int) -> bytes | bytearray:
        """The plain body, of at most `limit` bytes.  Other tasks run after each 64 KiB of it.

        Raises RequestTooLarge, InvalidRequest and UnsupportedMediaType.
        """
        coding = self.coding()
        if not coding:
            return data
        inflater = unzstd.Unzstd() if coding == _ZSTD else Inflater(coding)
        inflater.receive_data(bytes(data))
        made = bytearray()
        try:
            while (piece := inflater.step()) is not None:
                made += piece
                if len(made) > limit:
                    raise RequestTooLarge(f"the request's body has more than {limit} bytes")
                await trio.lowlevel.checkpoint()
        except InflateError as fault:
            raise InvalidRequest(f"the request's body cannot be decompressed: {fault}") from None
        if not inflater.is_whole:
            raise InvalidRequest(f"the request's body ends in the middle of its {coding}")
        return made
