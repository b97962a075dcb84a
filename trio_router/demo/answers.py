"""What the demo upstream can send: an answer is a head and a sequence of small steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import trio


@dataclass(frozen=True, slots=True)
class Send:
    """These bytes of the body, in one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing for so many seconds (of trio's clock)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing for ever: the connection stays open until the reader leaves."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The connection is reset.  The peer may lose what it has not read yet."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed without what its framing still owes (the last chunk, the length)."""


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Nothing until the event is set."""

    event: trio.Event


Step: TypeAlias = Send | Sleep | Hang | Abort | Close | WaitFor
Framing: TypeAlias = Literal["chunked", "length", "close"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted HTTP answer.

    The head goes out after `head_delay` seconds, in a write of its own, then each step in turn.
    `steps` may be an iterator, an endless one too, unless `framing` is "length" (the length is that
    of all `Send`s, or what a `content-length` header among `headers` claims).  "close" ends the body
    with the connection.  Without a `content-type` header there is none.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    steps: Iterable[Step] = ()
    framing: Framing = "chunked"
    head_delay: float = field(default=0.0, kw_only=True)

    def header(self, name: str) -> str | None:
        """The value of the first header of that (lower case) name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


def sse(*events: dict[str, Any] | str | bytes, done: bool = True) -> list[Send]:
    """Each event as `data: ...` and an empty line, one write each; `[DONE]` last, if `done`.

    A string or bytes are the data as they stand (one line), anything else becomes compact JSON.
    """
    data = [_raw(event) for event in events] + ([b"[DONE]"] if done else [])
    return [Send(b"data: " + one + b"\n\n") for one in data]


def ndjson(*records: dict[str, Any] | str | bytes) -> list[Send]:
    """Each record on a line of its own, one write each."""
    return [Send(_raw(record) + b"\n") for record in records]


def cut(data: bytes, at: int | Sequence[int]) -> list[Send]:
    """`data` in several writes: pieces of `at` bytes, or cut at these offsets.

    Raises ValueError if `at` is a size below 1.
    """
    if isinstance(at, int):
        if at < 1:
            raise ValueError("a piece has at least one byte")
        offsets: Sequence[int] = range(at, len(data), at)
    else:
        offsets = sorted(at)
    edges = [0, *offsets, len(data)]
    pieces = (data[start:end] for start, end in pairwise(edges))
    return [Send(piece) for piece in pieces if piece]


def json_answer(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """The value as a JSON body with its length."""
    kind = ("content-type", "application/json")
    return Answer(status, (kind, *headers), (Send(dumps(value)),), "length")


def error_answer(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Answer:
    """An error in OpenAI's shape."""
    return json_answer({"error": error_body(status, message, code, param)}, status, headers)


def error_body(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """What stands under `error`; the type follows from the status, as OpenAI's does."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    usual = "invalid_request_error" if status < 500 else "api_error"
    return {"message": message, "type": kinds.get(status, usual), "code": code, "param": param}


def _raw(value: dict[str, Any] | str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else dumps(value)
