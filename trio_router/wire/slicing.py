"""Long text and bytes, handled in slices: no step holds the interpreter's lock for long.

Python holds the lock while it encodes or decodes: 32 MB of text take up to 40 ms.  A thread that works
under `sliced` takes SLICE at a time, and other threads run between two slices.
"""

from __future__ import annotations

import codecs
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T", str, bytes, bytes | bytearray)

SLICE = 65536  # bytes or characters
pauses: dict[int, Callable[[], object]] = {}  # by the threads that work in slices
_NEW_DECODER = codecs.getincrementaldecoder("utf-8")


@contextmanager
def sliced(pause: Callable[[], object]) -> Iterator[None]:
    """In this thread long JSON and long text are handled in slices; `pause` is called after each."""
    own = get_ident()
    pauses[own] = pause
    try:
        yield
    finally:
        del pauses[own]


def is_sliced() -> bool:
    """Whether this thread works in slices."""
    return bool(pauses) and get_ident() in pauses


def slices(data: T, start: int = 0, size: int | None = None) -> Iterator[T]:
    """`data` from `start` on, in pieces of `size`, or SLICE.

    A thread that works in slices pauses after each.
    """
    pause = pauses.get(get_ident())
    size = size or SLICE
    for at in range(start, len(data), size):
        yield data[at : at + size]
        if pause is not None:
            pause()


def joined(pieces: Iterable[str]) -> str:
    """`"".join(pieces)`, the text growing as they come: no step fills all of its memory.

    CPython extends a string in place while only one local variable holds it.  Where it copies instead,
    a step costs what a join does, and there are few: each adds an eighth.
    """
    whole = ""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size * 8 >= len(whole):
            whole += "".join(waiting)
            waiting.clear()
            size = 0
    whole += "".join(waiting)
    return whole


def encoded(text: str, errors: str = "surrogatepass") -> bytes | bytearray:
    """`text.encode(errors=errors)`."""
    if len(text) <= SLICE:
        return text.encode(errors=errors)
    data = bytearray()  # it grows in place: pieces and data are never in memory both
    for piece in slices(text):
        data += piece.encode(errors=errors)
    return data


def decoded(pieces: Iterator[bytes], errors: str = "strict") -> Iterator[str]:
    """The text of `pieces`, which may cut characters.  If strict, raises UnicodeDecodeError."""
    decoder = _NEW_DECODER(errors)
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)
