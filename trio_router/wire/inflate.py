"""Inflates a compressed body in slices: the output of one step is bounded, whatever the input.

One kilobyte of deflate can hold a megabyte.  So nothing is inflated before it is asked for; the rest
stays compressed.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CODINGS = ("gzip", "deflate")  # the codings that can be inflated
_OUT = 65536  # bytes that come out of one step
_IN = 16384  # bytes that go into one step
_MAGIC = b"\x1f\x8b"  # how a gzip stream begins
_ALIAS = {"x-gzip": "gzip"}


class InflateError(Exception):
    """The body is not in its declared coding, or the coding is not supported."""


def coding_of(values: Iterable[str], known: Collection[str] = CODINGS) -> str:
    """The coding of a body, from its Content-Encoding fields; empty if there is none.

    Raises InflateError for a coding that is not in `known`, and for more than one: nobody needs two,
    and each multiplies the size.
    """
    given = [part.strip().lower() for value in values for part in value.split(",", 8)]
    codings = [_ALIAS.get(name, name) for name in given if name not in ("", "identity")]
    if len(codings) > 1:
        raise InflateError("it is compressed more than once")
    if codings and codings[0] not in known:
        raise InflateError(f"its content coding is not known: {codings[0][:50]!r}")
    return codings[0] if codings else ""


class Inflater:
    """Takes bytes; then call `step` until it returns None.  `coding` is one of CODINGS.

    `is_whole` says whether the body may end here.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._input = b""
        self._at = 0  # the offset in `_input` of what zlib has not got yet
        self._has_more = False  # zlib holds output for which there was no room
        self._has_ended = False  # a compressed stream has ended
        self.is_whole = True  # an empty body is whole

    def receive_data(self, data: bytes) -> None:
        if self._coding:
            self._input = self._input[self._at :] + data
            self._at = 0

    def step(self) -> bytes | None:
        """At most 64 KiB of output, perhaps none; None once all input was inflated.

        A step takes about a tenth of a millisecond.  Raises InflateError.
        """
        if self._stream is None and not self._begin():
            return None
        assert self._stream is not None
        given = self._input[self._at : self._at + _IN]
        if not given and not self._has_more:
            return None
        try:
            made = self._stream.decompress(given, _OUT)
        except zlib.error:
            raise InflateError(f"it is not {self._coding}") from None
        left = len(self._stream.unconsumed_tail) + len(self._stream.unused_data)
        self._at += len(given) - left
        self._has_more = len(made) == _OUT
        if self._stream.eof:
            self._stream, self.is_whole, self._has_more = None, True, False
            self._has_ended = True
        return made

    def _begin(self) -> bool:
        """Whether enough input has come to begin a stream; gzip may have several in a row."""
        rest = self._input[self._at : self._at + 2]
        if not self._coding or not rest:
            return False
        if self._has_ended and (self._coding != "gzip" or not _MAGIC.startswith(rest)):
            self._coding, self._input = "", b""  # what follows does not belong to the body
            return False
        self.is_whole = self._has_ended and len(rest) < 2
        if len(rest) < 2:
            return False
        if self._coding == "gzip":
            self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            return True
        # Most servers send zlib's format, as the standard says, some the bare stream.
        is_zlib = rest[0] & 0x0F == 8 and int.from_bytes(rest, "big") % 31 == 0
        self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return True
