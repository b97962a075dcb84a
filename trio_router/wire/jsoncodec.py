"""JSON on the data path: msgspec, with the standard library as a fallback.

msgspec is strict and fast (0.5 us for a chat chunk).  It refuses a few valid things that real providers
send: escaped lone surrogates (half an emoji in each of two chunks), integers beyond 64 bits.  These
take the slow way instead of failing.

JSON that `is_heavy` is handled in a thread, under `sliced`: see `jsonslices`.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

from trio_router.wire import jsonslices, jsonwriter, slicing
from trio_router.wire.jsonexact import Number, encode as encode_at_once
from trio_router.wire.jsonslices import (
    EXACT,
    MISFITS,
    PLAIN,
    JSONError,
    JSONTooLarge,
    parse_small,
)
from trio_router.wire.slicing import SLICE, is_sliced, pauses as _pauses, sliced

__all__ = [
    "SLICE",
    "JSONError",
    "JSONTooLarge",
    "Number",
    "dumps",
    "dumps_text",
    "is_heavy",
    "is_sliced",
    "loads",
    "loads_exactly",
    "loads_text",
    "skim",
    "sliced",
]

_SHORT = 1 << 17  # bytes: up to this length nothing is heavy
_LONG = 1 << 20  # bytes beyond which it is heavy whatever is in it
_OBJECTS = 4000  # objects beyond which a text between the two is heavy
_decode = PLAIN.decode


def loads_exactly(data: bytes | bytearray) -> Any:
    """Like `loads`, but numbers that `dumps` could not write with their value become `Number`s."""
    if _pauses and len(data) > SLICE and (pause := _pauses.get(get_ident())):
        return jsonslices.parse(data, pause, EXACT)
    return parse_small(data, EXACT)


def loads(data: bytes | bytearray) -> Any:
    """The value, strictly after RFC 8259: no NaN, no Infinity.  Raises JSONError."""
    if _pauses and len(data) > SLICE and (pause := _pauses.get(get_ident())):
        return jsonslices.parse(data, pause)
    try:
        return _decode(data)  # here, and not one call deeper: each event of a stream comes this way
    except MISFITS:
        return parse_small(data)


def loads_text(text: str) -> Any:
    """As `loads`, of JSON that stands in a string, such as a call's arguments.  Raises JSONError."""
    return loads(slicing.encoded(text))


def skim(data: bytes | bytearray) -> Any:
    """As `loads`, but of what is long its arrays in the value are only checked, and empty: if this
    thread works in slices.  Raises JSONError.
    """
    if _pauses and len(data) > SLICE and (pause := _pauses.get(get_ident())):
        return jsonslices.skim(data, pause)
    return parse_small(data)


def dumps(value: Any) -> bytes:
    """Compact JSON; non-ASCII text stays as it is, except for lone surrogates, which are escaped."""
    if _pauses and (pause := _pauses.get(get_ident())):
        return jsonwriter.encode(value, pause)
    return encode_at_once(value)


def dumps_text(value: Any) -> str:
    """`dumps(value)` as a string, such as a call's arguments."""
    if _pauses and (pause := _pauses.get(get_ident())):
        return jsonwriter.encode_text(value, pause)
    return encode_at_once(value).decode()


def is_heavy(data: bytes | bytearray) -> bool:
    """Whether parsing `data` and walking through it could block the loop for about 20 ms.

    Up to 128 KiB nothing could, and nothing is counted: msgspec takes 40 us for 64 KB of common chat, a
    thread 45 us there and back and 60 us a slice.  msgspec parses any megabyte in 20 ms; so up to that
    length only texts with very many objects, which cost more to walk through, go to the thread.
    """
    if len(data) <= _SHORT:
        return False
    return len(data) > _LONG or data.count(b"{") > _OBJECTS
