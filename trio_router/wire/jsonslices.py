"""Parses long JSON in slices: each step takes at most some milliseconds, and memory is bounded.

msgspec and the standard library hold the interpreter's lock until they have finished, so that a thread
alone does not help: 32 MB take up to seconds.  Here they get at most SLICE bytes at a time, and other
threads run between two slices.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from trio_router.wire.jsonexact import exact_float, exact_integer
from trio_router.wire.slicing import SLICE, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FLOOR = 16 << 20  # bytes of memory that the values of any text may take, by the weights below
_SHARE = 1.5  # additional bytes of memory for each byte of the text
_MOST = 64 << 20  # the most in any case: freeing so many values takes 40 ms, in one step
_WIDEST = 48 << 20  # bytes of memory of one string: with one emoji each character takes four
_DEPTH = 200  # of containers that are longer than a slice
_OBJECT, _ARRAY, _STRING, _NUMBER = 240, 240, 50, 32  # bytes, about what a value takes at most

_SPACE = re.compile(rb"[ \t\r\n]*+")
_AFTER = re.compile(r"[ \t\r\n]*+(?:(,)[ \t\r\n]*+|(?=[\]}])|(?<=[ \t\r\n])|\Z)")  # an element
_COLON = re.compile(r"[ \t\r\n]*+:[ \t\r\n]*+")
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# The inside of a string up to a possible cut: between escapes and pairs of surrogates.
_TEXT = re.compile(
    rb'(?:[^"\\]++|\\["\\/bfnrt]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}'
    rb"(?:\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?=[^\\]|\\[^u]|\\.{5})))*+",
    re.DOTALL,
)
_NOTHING, _VALUE, _COMMA = range(3)  # what was taken last
_BOM = b"\xef\xbb\xbf"
MISFITS = (msgspec.MsgspecError, UnicodeError, RecursionError)


class JSONError(ValueError):
    """Not JSON.  `truncated`: it may be the beginning of valid JSON."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


class JSONTooLarge(JSONError):
    """JSON with too many values or too long strings."""


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Numbers:
    """How numbers are read: by msgspec, and by the standard library where msgspec refuses."""

    def __init__(
        self, read_float: Callable[[str], Any] | None, read_integer: Callable[[str], Any] | None
    ) -> None:
        self.decode = msgspec.json.Decoder(float_hook=read_float).decode
        slow: Any = json.JSONDecoder(
            parse_constant=_refuse, parse_float=read_float, parse_int=read_integer
        )
        self.scan: Callable[[str, int], tuple[Any, int]] = slow.scan_once
        self.hooks: Any = {"parse_float": read_float, "parse_int": read_integer}


PLAIN = Numbers(None, None)
EXACT = Numbers(exact_float, exact_integer)
# What it raises for what is no JSON, or only the beginning of some.
_NO_VALUE = (StopIteration, ValueError, RecursionError)


def parse(data: bytes | bytearray, pause: Callable[[], object], numbers: Numbers = PLAIN) -> Any:
    """The value.  `pause` is called after each slice.  Raises JSONError and JSONTooLarge."""
    return _Parser(data, pause, numbers).document()


def skim(data: bytes | bytearray, pause: Callable[[], object]) -> Any:
    """As `parse`, but arrays in the value that are longer than a slice are only checked, and empty.

    So the number of values is not limited.
    """
    return _Parser(data, pause, PLAIN, is_skim=True).document()


def parse_small(data: bytes | bytearray, numbers: Numbers = PLAIN) -> Any:
    """The value, in one step.  Raises JSONError."""
    try:
        return numbers.decode(data)
    except MISFITS as fault:
        complaint = str(fault)
    try:
        return json.loads(data, parse_constant=_refuse, **numbers.hooks)
    except (ValueError, RecursionError):
        raise JSONError(complaint, truncated="truncated" in complaint) from None


class _Parser:
    """Descends only into values that are longer than a slice; smaller ones are parsed at once."""

    def __init__(
        self,
        data: bytes | bytearray,
        pause: Callable[[], object],
        numbers: Numbers,
        *,
        is_skim: bool = False,
    ) -> None:
        self._numbers = numbers
        self._data = data
        self._size = len(data)
        self._pause = pause
        self._at = len(_BOM) if data.startswith(_BOM) else 0
        self._budget = min(_FLOOR + _SHARE * len(data), _MOST)
        self._is_skim = is_skim

    def document(self) -> Any:
        self._skip()
        value = self._value(0)
        self._skip()
        if self._at != self._size:
            raise self._wrong()
        return value

    def _value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise JSONError("JSON is nested too deeply")
        match self._data[self._at : self._at + 1]:
            case b"[":
                found: list[Any] = []
                if self._is_skim and depth:
                    self._container(b"]", _drop, _drop, depth)
                else:
                    self._container(b"]", found.extend, found.append, depth)
                return found
            case b"{":
                fields: dict[str, Any] = {}
                self._container(b"}", fields.update, lambda pair: fields.update((pair,)), depth)
                return fields
            case b'"':
                return self._string()
        text = self._text(self._window())
        try:
            value, end = self._numbers.scan(text, 0)
        except _NO_VALUE:
            raise self._wrong() from None
        if end >= SLICE:
            raise self._wrong()
        self._at += end  # it is ASCII
        return value

    def _container(
        self,
        close: bytes,
        extend: Callable[[Any], None],
        add: Callable[[Any], None],
        depth: int,
    ) -> None:
        self._at += 1
        self._skip()
        if self._take(close):
            return
        while True:
            self._pause()
            self._skip()
            state = _COMMA if self._batch(close, extend) else self._some(close, add)
            if state == _COMMA:
                continue  # another element must follow
            if state == _NOTHING:  # the next element is longer than a slice, or no element
                add(self._pair(depth) if close == b"}" else self._value(depth + 1))
            self._skip()
            if self._take(close):
                return
            if not self._take(b","):
                raise self._wrong()

    def _pair(self, depth: int) -> tuple[str, Any]:
        if self._data[self._at : self._at + 1] != b'"':
            raise self._wrong()
        key = self._string()
        self._skip()
        if not self._take(b":"):
            raise self._wrong()
        self._skip()
        return key, self._value(depth + 1)

    def _batch(self, close: bytes, extend: Callable[[Any], None]) -> bool:
        """Takes as many elements as msgspec can read at once, and the comma after them."""
        window = self._window()
        if len(window) < SLICE:
            return False
        first = b"{" if close == b"}" else b"["
        for mark in (b",", b"},", b"],"):
            cut = window.rfind(mark) + len(mark) - 1
            if cut < len(mark):
                continue
            # Good JSON between the brackets is whole elements: a cut in a string or in a container
            # leaves it open.
            try:
                found = self._numbers.decode(first + window[:cut] + close)
            except MISFITS:
                continue
            if found:
                self._charge(window[:cut])
                extend(found)
                self._at += cut + 1
                return True
        return False

    def _some(self, close: bytes, add: Callable[[Any], None]) -> int:
        """Takes the elements that are complete in a slice.  Returns what it took last."""
        window = self._window()
        text = self._text(window)
        is_last = self._at + len(window) == self._size
        scan = self._numbers.scan
        element = partial(_scan_pair, scan) if close == b"}" else scan
        done, state = 0, _NOTHING
        try:
            while True:
                value, end = element(text, done)
                after = _AFTER.match(text, end)
                if after is None or (end == len(text) and not is_last):
                    break  # a number may go on
                add(value)
                done, state = after.end(), _COMMA if after[1] else _VALUE
                if state == _VALUE:
                    break
        except _NO_VALUE:
            pass
        taken = window[:done] if text.isascii() else text[:done].encode(errors="surrogatepass")
        self._charge(taken)
        self._at += len(taken)
        return state

    def _string(self) -> str:
        self._at += 1
        return joined(self._texts())

    def _texts(self) -> Iterator[str]:
        size, width = 0, 1
        while True:
            window = self._window()
            found = _TEXT.match(window)
            end = found.end() if found else 0
            is_end = window[end : end + 1] == b'"'
            piece = window[:end] if is_end else _whole_characters(window[:end])
            if not piece and not is_end:
                raise self._wrong()
            text = parse_small(b'"' + piece + b'"')
            self._at += len(piece) + is_end
            size, width = size + len(text), max(width, _width(text))
            if size * width > _WIDEST:
                raise JSONTooLarge(f"a text takes more than {_WIDEST >> 20} MiB")
            self._pause()
            yield text
            if is_end:
                return

    def _charge(self, taken: bytes) -> None:
        if self._is_skim:
            return
        weight = _weight(taken)
        if weight > _SHARE * len(taken):  # perhaps only because of text in strings
            weight = _weight(_STRINGS.sub(b'""', taken))
        self._budget -= weight
        if self._budget < 0:
            raise JSONTooLarge("JSON has too many values")

    def _window(self) -> bytes:
        return bytes(self._data[self._at : self._at + SLICE])

    def _text(self, window: bytes) -> str:
        try:
            return window.decode(errors="surrogatepass")
        except UnicodeDecodeError:
            pass
        try:
            return _whole_characters(window).decode(errors="surrogatepass")
        except UnicodeDecodeError:
            raise JSONError("JSON is not UTF-8") from None

    def _skip(self) -> None:
        found = _SPACE.match(self._data, self._at)
        self._at = found.end() if found else self._at

    def _take(self, byte: bytes) -> bool:
        is_there = self._data[self._at : self._at + 1] == byte
        self._at += is_there
        return is_there

    def _wrong(self) -> JSONError:
        is_near_end = self._size - self._at < 6 or self._data[self._at : self._at + 1] == b'"'
        return JSONError(f"JSON is malformed (byte {self._at})", truncated=is_near_end)


def _scan_pair(
    scan: Callable[[str, int], tuple[Any, int]], text: str, at: int
) -> tuple[tuple[str, Any], int]:
    if text[at : at + 1] != '"':
        raise StopIteration
    key, at = scan(text, at)
    colon = _COLON.match(text, at)
    if colon is None:
        raise StopIteration
    value, at = scan(text, colon.end())
    return (key, value), at


def _drop(_: object) -> None:
    pass


def _weight(text: bytes) -> int:
    """About what the values of `text` take in memory, in bytes."""
    values = text.count(b",") * _NUMBER + text.count(b'"') * _STRING // 2
    return values + text.count(b"{") * _OBJECT + text.count(b"[") * _ARRAY


def _width(text: str) -> int:
    """Bytes a character takes in memory."""
    if text.isascii():
        return 1
    if len(text) < 100:
        return 4 if max(text) > "\uffff" else 2 if max(text) > "\xff" else 1
    size = sys.getsizeof(text)
    return 4 if size >= 4 * len(text) else 2 if size >= 2 * len(text) else 1


def _whole_characters(data: bytes) -> bytes:
    """`data` without the beginning of a character at its end."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data if back >= wanted else data[:-back]
        if byte < 0x80:
            break
    return data
