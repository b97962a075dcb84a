"""Undoes zstd in small steps, as `inflate` undoes gzip.  It needs the package `zstandard`."""

from __future__ import annotations

from typing import Any

from trio_router.wire.inflate import InflateError

try:
    import zstandard
except ImportError:  # an extra: trio-router[zstd]
    zstandard = None  # type: ignore[assignment]

IS_THERE = zstandard is not None
_WINDOW = 1 << 23  # bytes; RFC 9659 allows no more in a content coding
_SLICE = 64  # bytes that go in at once: four of them can hold 128 KiB, so at most 2 MiB come out
_OUT = 65536  # bytes of output after which a step is enough
_IN = 16384  # bytes of input after which it is


class Unzstd:
    """Takes bytes; then call `step` until it returns None.  See Inflater."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._input = b""
        self._at = 0
        self.is_whole = True  # an empty body is whole

    def receive_data(self, data: bytes) -> None:
        self._input = self._input[self._at :] + data
        self._at = 0

    def step(self) -> bytes | None:
        """About 64 KiB of output, at most 2 MiB, perhaps none; None once all input was used.

        Raises InflateError.
        """
        if self._at >= len(self._input):
            return None
        made, size, stop = [], 0, self._at + _IN
        while self._at < min(len(self._input), stop) and size < _OUT:
            made.append(self._next())
            size += len(made[-1])
        return b"".join(made)

    def _next(self) -> bytes:
        if self._stream is None:  # there may be several frames in a row
            self._stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
            self.is_whole = False
        given = self._input[self._at : self._at + _SLICE]
        try:
            made: bytes = self._stream.decompress(given)
        except zstandard.ZstdError:
            raise InflateError("it is not zstd") from None
        self._at += len(given) - len(self._stream.unused_data)
        if self._stream.eof:
            self._stream, self.is_whole = None, True
        return made
