"""Writes long JSON in slices: see `jsonslices`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.wire.jsonexact import encode as encode_at_once
from trio_router.wire.slicing import SLICE, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RUN = 512  # elements of an array that are looked at together
_SMALL = 4096  # values, or as many times 32 characters, that are encoded at once


def encode(value: Any, pause: Callable[[], object]) -> bytes:
    """Compact JSON; `pause` is called after each slice."""
    return b"".join(_pieces(value, pause))  # join releases the interpreter's lock


def encode_text(value: Any, pause: Callable[[], object]) -> str:
    """As `encode`, as a string."""
    return joined(piece.decode() for piece in _paused(_pieces(value, pause), pause))


def _pieces(value: Any, pause: Callable[[], object]) -> list[bytes]:
    """Compact JSON, cut between characters."""
    writer = _Writer(pause)
    try:
        writer.write(value)
    except RecursionError:
        return [encode_at_once(value)]
    return writer.out


def _paused(pieces: list[bytes], pause: Callable[[], object]) -> Iterator[bytes]:
    """`pieces`, with a pause after each slice of them."""
    written = 0
    for piece in pieces:
        yield piece
        written += len(piece) + 64
        if written > SLICE:
            written = 0
            pause()


class _Writer:
    """Descends only into values that are more than a slice."""

    def __init__(self, pause: Callable[[], object]) -> None:
        self.out: list[bytes] = []
        self._pause = pause
        self._written = 0  # bytes since the last pause

    def write(self, value: Any) -> None:
        if isinstance(value, str) and len(value) > SLICE:
            self._string(value)
        elif isinstance(value, dict) and not _is_small(value):
            self._object(value)
        elif isinstance(value, list) and not _is_small(value):
            self._array(value)
        else:
            self._put(encode_at_once(value))

    def _put(self, data: bytes) -> None:
        self.out.append(data)
        self._written += len(data) + 64
        if self._written > SLICE:
            self._written = 0
            self._pause()

    def _object(self, value: dict[str, Any]) -> None:
        begin = b"{"
        for key, item in value.items():
            self.out.append(begin)
            self.write(key)
            self.out.append(b":")
            self.write(item)
            begin = b","
        self.out.append(b"}")

    def _array(self, value: list[Any]) -> None:
        begin = b"["
        for at in range(0, len(value), _RUN):
            run = value[at : at + _RUN]
            if _is_small(run):
                self.out.append(begin)
                self._put(encode_at_once(run)[1:-1])
                begin = b","
                continue
            for item in run:
                self.out.append(begin)
                self.write(item)
                begin = b","
        self.out.append(b"]")

    def _string(self, text: str) -> None:
        self.out.append(b'"')
        for at in range(0, len(text), SLICE):
            self._put(encode_at_once(text[at : at + SLICE])[1:-1])
        self.out.append(b'"')


def _is_small(value: Any) -> bool:
    left = _SMALL
    rest = [value]
    while rest:
        item = rest.pop()
        left -= 1
        if isinstance(item, str):
            left -= len(item) >> 5
        elif isinstance(item, dict):
            if len(item) > left:
                return False
            rest += item.values()
            left -= sum(map(len, item)) >> 5
        elif isinstance(item, list):
            if len(item) > left:
                return False
            rest += item
        elif isinstance(item, int):
            left -= item.bit_length() >> 7
        if left < 0:
            return False
    return True
