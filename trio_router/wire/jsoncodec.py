"""JSON on the data path: msgspec where it can, the standard library where it cannot.

msgspec is strict and fast (0.5 us for a chat chunk); it refuses a few things that real providers send
and that are JSON all the same: escaped lone surrogates (half an emoji in each of two
chunks), integers beyond 64 bits.  These take the slow way instead of failing.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class JSONError(ValueError):
    """Not JSON.  `truncated`: it may be only the beginning of some."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


def loads(data: bytes) -> Any:
    """The value, as RFC 8259 has it: no NaN, no Infinity.  Raises JSONError."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        return _loads_slowly(data, str(fault))


def dumps(value: Any) -> bytes:
    """Compact JSON; non-ASCII text stays as it is, except for lone surrogates, which are escaped."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError):
        return json.dumps(value, separators=(",", ":")).encode()


def _loads_slowly(data: bytes, complaint: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise JSONError(complaint, truncated="truncated" in complaint) from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
