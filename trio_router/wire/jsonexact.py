"""Numbers that neither a float nor a reasonable integer can hold: they are sent as they came."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

_DIGITS = 17  # significant digits that a float always keeps; it is never printed with more
_LONG = 300  # digits beyond which Python's integers are slow, and later refused
_TINY = 1e-290  # below this value floats keep fewer digits


class Number:
    """A number that neither a float nor a reasonable integer can hold, as it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def exact_float(text: str) -> Any:
    """`text` as a float, or a `Number` if a float would lose digits."""
    value = float(text)
    if len(text) <= _DIGITS and _TINY < abs(value) < math.inf:
        return value
    mantissa = text.lower().partition("e")[0]
    digits = mantissa.replace(".", "").replace("-", "").strip("0")
    if not digits:
        return value  # it is zero
    is_held = len(digits) <= _DIGITS and _TINY < abs(value) < math.inf
    return value if is_held else Number(text)


def exact_integer(text: str) -> Any:
    """`text` as an integer, or a `Number` if it has very many digits."""
    return int(text) if len(text) <= _LONG else Number(text)


def _as_written(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = msgspec.json.Encoder(enc_hook=_as_written).encode


def encode(value: Any) -> bytes:
    """The JSON by msgspec, or by the standard library if msgspec refuses."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError):
        return _encode_slowly(value)


def _encode_slowly(value: Any) -> bytes:
    """The JSON by the standard library, which cannot write a number verbatim."""
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
    while f'"{mark}"' in text:  # until the mark does not occur in the text
        mark += "#"
    numbers.clear()
    text = json.dumps(value, separators=(",", ":"), default=note)
    found = iter(numbers)
    return re.sub(f'"{mark}"', lambda _: next(found), text).encode()
