"""JSON on the data path: msgspec where it can, the standard library where it cannot.

msgspec is strict and fast (0.5 us for a chat chunk); it refuses a few things that real providers send
and that are JSON all the same: escaped lone surrogates (half an emoji in each of two
chunks), integers beyond 64 bits.  These take the slow way instead of failing.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

_decode = msgspec.json.Decoder().decode
_DIGITS = 17  # significant ones that a float always keeps; no more are printed of one
_LONG = 300  # digits of an integer beyond which Python's are slow, and refused in the end
_TINY = 1e-290  # below which floats keep fewer digits


class JSONError(ValueError):
    """Not JSON.  `truncated`: it may be only the beginning of some."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


class Number:
    """A number that no float and no reasonable integer holds, as it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _float(text: str) -> Any:
    value = float(text)
    if len(text) <= _DIGITS and _TINY < abs(value) < math.inf:
        return value
    mantissa = text.lower().partition("e")[0]
    digits = mantissa.replace(".", "").replace("-", "").strip("0")
    if not digits:
        return value  # it is zero
    is_held = len(digits) <= _DIGITS and _TINY < abs(value) < math.inf
    return value if is_held else Number(text)


def _integer(text: str) -> Any:
    return int(text) if len(text) <= _LONG else Number(text)


def _as_written(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is no JSON")


_decode_exactly = msgspec.json.Decoder(float_hook=_float).decode
_encode = msgspec.json.Encoder(enc_hook=_as_written).encode


def loads_exactly(data: bytes) -> Any:
    """As `loads`; but numbers that would not come out of `dumps` with their value are `Number`s."""
    try:
        return _decode_exactly(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        return _loads_slowly(data, str(fault), parse_float=_float, parse_int=_integer)


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
        return _dumps_slowly(value)


def _dumps_slowly(value: Any) -> bytes:
    """By the standard library, to which a number cannot be given as it is written."""
    numbers: list[str] = []

    def note(item: object) -> str:
        if not isinstance(item, Number):
            raise TypeError(f"{type(item).__name__} is no JSON")
        numbers.append(item.text)
        return mark

    mark = ""
    text = json.dumps(value, separators=(",", ":"), default=note)
    if not numbers:
        return text.encode()
    while f'"{mark}"' in text:  # until it is a string that is not in there
        mark += "#"
    numbers.clear()
    text = json.dumps(value, separators=(",", ":"), default=note)
    found = iter(numbers)
    return re.sub(f'"{mark}"', lambda _: next(found), text).encode()


def _loads_slowly(data: bytes, complaint: str, **hooks: Any) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse, **hooks)
    except (ValueError, RecursionError):
        raise JSONError(complaint, truncated="truncated" in complaint) from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
