"""Model names as scripts: `echo-d50-x3` answers 50 ms a chunk and breaks off after the third.

A name is `echo`, then any steps, each after a dash.  A step is a letter with a number, or a word:

{table}

A chunk is an event that carries text; the first is number 1, and what comes "after 0 chunks" comes
after the headers, before any event.  A fault that lies behind the last chunk is met before the
answer's end if its number is the number of chunks, and never if it is greater.

A whole answer (`stream` is false) meets the same faults once, whatever their number, if the answer
is long enough to meet them: x, t and h act half way through the body, m makes it no JSON, e turns it
into HTTP 500; d is waited for all chunks before the head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHARACTERS = 4  # code points in a chunk of an echo
_MOST_TEXT = 1 << 28  # bytes of text in one answer


class ScriptError(ValueError):
    """The model's name is no script; the message says what is known."""


class NoSuchModel(ScriptError):
    """The name does not begin with a known model's."""


@dataclass(frozen=True, slots=True)
class Script:
    """What one answer does.  None means: does not happen."""

    delay_ms: int = 0
    first_ms: int = 0
    chunks: int | None = None
    words: int | None = None
    text_bytes: int | None = None
    piece: int | None = None
    abort: int | None = None
    error: int | None = None
    hang: int | None = None
    malformed: int | None = None
    bad_utf8: int | None = None
    truncate: int | None = None
    status: int | None = None
    comment: int | None = None
    ndjson: bool = False
    nodone: bool = False
    crlf: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    field: str
    meaning: str
    low: int = 0
    high: int = 1_000_000


_NUMBERED = {
    "d": _Kind("delay_ms", "wait N ms before each chunk", high=86_400_000),
    "f": _Kind("first_ms", "wait N ms before the first byte, headers included", high=86_400_000),
    "c": _Kind("chunks", 'say N chunks ("token0 token1 ...") instead of echoing'),
    "w": _Kind("words", "say N words without a line break instead of echoing"),
    "b": _Kind("text_bytes", "N bytes of text a chunk (characters stay whole)", 1, 1 << 23),
    "s": _Kind("piece", "cut the body into writes of N bytes, through characters too", 1, 1 << 23),
    "x": _Kind("abort", "reset the connection after N chunks"),
    "e": _Kind("error", "send an error in the stream after N chunks, and end"),
    "h": _Kind("hang", "hang after N chunks, until the reader leaves"),
    "m": _Kind("malformed", "send an event that is not JSON after N chunks, and go on"),
    "u": _Kind("bad_utf8", "bytes that are not UTF-8 (E2 82 FF) in the text of chunk N", 1),
    "t": _Kind("truncate", "end cleanly after N chunks, without finish_reason or [DONE]"),
    "r": _Kind("status", "answer with HTTP status N (429 with Retry-After: 1)", 300, 599),
    "p": _Kind("comment", "a comment (an empty line in NDJSON) before each Nth chunk", 1),
}
_WORDS = {
    "ndjson": "answer with Ollama's NDJSON records at every path",
    "nodone": "finish_reason, but no [DONE]",
    "crlf": "CRLF line ends",
}
STEPS: dict[str, str] = {f"{key}N": kind.meaning for key, kind in _NUMBERED.items()} | _WORDS
"""Every step and what it does: what the documentation quotes."""

_STEP = re.compile(r"([a-z])([0-9]{1,9})")


def table() -> str:
    """The steps, one a line."""
    return "\n".join(f"    {step:<8}{meaning}" for step, meaning in STEPS.items())


if __doc__:  # absent under -OO
    __doc__ = __doc__.replace("{table}", table())


def parse(model: str) -> Script:
    """The script in a model's name; a prefix up to a slash and a `:tag` do not count.

    Raises NoSuchModel if it does not begin with `echo`, ScriptError if a step is unknown or its
    number is out of range.
    """
    first, *steps = model.rpartition("/")[2].partition(":")[0].split("-")
    if first != "echo":
        raise NoSuchModel(
            f"there is no model {model!r} here; try echo, or echo with steps such as echo-d50"
        )
    found: dict[str, Any] = {}
    for step in steps:
        name, value = _parse_step(step)
        if name in found:
            raise ScriptError(f"the step {step!r} says again what {model!r} said before")
        found[name] = value
    script = Script(**found)
    if script.chunks is not None and script.words is not None:
        raise ScriptError("the steps cN and wN exclude each other")
    if (script.chunks or 0) * (script.text_bytes or 0) > _MOST_TEXT:
        raise ScriptError(f"cN times bN may be {_MOST_TEXT} bytes at most")
    return script


def texts(script: Script, echo: str) -> Iterator[str]:
    """The text of each chunk."""
    if script.chunks is not None:
        size = script.text_bytes
        for number in range(script.chunks):
            token = f"token{number} "
            yield token if size is None else token.ljust(size, "x")[:size]
        return
    text = echo if script.words is None else " ".join(f"word{n}" for n in range(script.words))
    if script.text_bytes is None:
        for start in range(0, len(text), CHARACTERS):
            yield text[start : start + CHARACTERS]
    else:
        yield from _by_bytes(text, script.text_bytes)


def _parse_step(step: str) -> tuple[str, int | bool]:
    if step in _WORDS:
        return step, True
    match = _STEP.fullmatch(step)
    kind = _NUMBERED.get(match[1]) if match else None
    if match is None or kind is None:
        raise ScriptError(f"unknown step {step!r}; the steps are {', '.join(STEPS)}")
    number = int(match[2])
    if not kind.low <= number <= kind.high:
        raise ScriptError(f"the number of step {step!r} must be from {kind.low} to {kind.high}")
    return kind.field, number


def _by_bytes(text: str, size: int) -> Iterator[str]:
    """Pieces of at most `size` bytes of UTF-8, and at least one character."""
    start = held = 0
    for index, character in enumerate(text):
        width = len(character.encode("utf-8", "surrogatepass"))
        if held and held + width > size:
            yield text[start:index]
            start, held = index, 0
        held += width
    if held:
        yield text[start:]
