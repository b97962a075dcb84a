"""A compressed body, inflated in slices: what comes out at once is bounded whatever went in.

One kilobyte of deflate can hold a megabyte.  So nothing is inflated further than somebody has asked,
and what has not been inflated yet stays compressed.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CODINGS = ("gzip", "deflate")  # that can be inflated
_OUT = 65536  # bytes that come out of one step
_IN = 16384  # bytes that go into one step
_MAGIC = b"\x1f\x8b"  # how a gzip stream begins
_ALIAS = {"x-gzip": "gzip"}


class InflateError(Exception):
    """What came is not in the coding that it is said to be in, or in one that nobody here can read."""


def coding_of(values: Iterable[str]) -> str:
    """The coding that a body is in, by its Content-Encoding fields; empty if it is in none.

    Raises InflateError for one that is not among CODINGS, and for more than one: nobody needs two, and
    each of them multiplies what a byte can become.
    """
    given = [part.strip().lower() for value in values for part in value.split(",", 8)]
    codings = [_ALIAS.get(name, name) for name in given if name not in ("", "identity")]
    if len(codings) > 1:
        raise InflateError("it is compressed more than once")
    if codings and codings[0] not in CODINGS:
        raise InflateError(f"its content coding is not known: {codings[0][:50]!r}")
    return codings[0] if codings else ""


class Inflater:
    """Bytes in; then `step` until it has nothing more to give.  `coding` is one of CODINGS.

    `is_whole` says whether the body may end here.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._input = b""
        self._at = 0  # where in `_input` begins what was not given to zlib
        self._has_more = False  # zlib keeps output back that there was no room for
        self._has_ended = False  # a stream has
        self.is_whole = True  # an empty body is

    def receive_data(self, data: bytes) -> None:
        if self._coding:
            self._input = self._input[self._at :] + data
            self._at = 0

    def step(self) -> bytes | None:
        """At most 64 KiB of what has come, perhaps nothing; None once all of it was inflated.

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
        """Whether enough has come to begin with a stream; gzip may have several, one after another."""
        rest = self._input[self._at : self._at + 2]
        if not self._coding or not rest:
            return False
        if self._has_ended and (self._coding != "gzip" or not _MAGIC.startswith(rest)):
            self._coding, self._input = "", b""  # what follows is no part of the body
            return False
        self.is_whole = self._has_ended and len(rest) < 2
        if len(rest) < 2:
            return False
        if self._coding == "gzip":
            self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            return True
        # Most send zlib's format, as the standard has it, some the bare stream.
        is_zlib = rest[0] & 0x0F == 8 and int.from_bytes(rest, "big") % 31 == 0
        self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return True
