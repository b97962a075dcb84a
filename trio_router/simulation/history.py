"""What happened in a world, in order, and the digest that says whether two histories are equal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 100  # bytes of data that a line of the trace shows
_TOGETHER = 500  # lines are digested together


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a history.  `at` is in virtual seconds since the world began."""

    at: float
    who: str
    what: str
    data: bytes

    def __str__(self) -> str:
        line = f"{self.at:12.6f}  {self.who:<28} {self.what}"
        if self.data:
            shown = self.data[:_SHOWN].decode("utf-8", "backslashreplace")
            more = "..." if len(self.data) > _SHOWN else ""
            line += f"  {len(self.data)} B {shown!r}{more}"
        return line


class Journal:
    """Takes note of everything; keeps it only if `is_kept`, but always digests it."""

    def __init__(self, now: Callable[[], float], *, is_kept: bool = False) -> None:
        self._now = now
        self._hash = hashlib.blake2b(digest_size=16)
        self._texts: list[str] = []  # not digested yet
        self._data: list[bytes] = []
        self.lines: list[Happening] | None = [] if is_kept else None

    def note(self, who: str, what: str, data: bytes = b"") -> None:
        at = self._now()
        self._texts.append(f"{at!r} {who} {what} {len(data)}")
        if data:
            self._data.append(data)
        if len(self._texts) > _TOGETHER:
            self._digest_waiting()
        if self.lines is not None:
            self.lines.append(Happening(at, who, what, bytes(data)))

    def _digest_waiting(self) -> None:
        self._hash.update("\n".join(self._texts).encode("utf-8", "surrogatepass"))
        self._hash.update(b"".join(self._data))
        self._texts.clear()
        self._data.clear()

    @property
    def digest(self) -> str:
        self._digest_waiting()
        return self._hash.hexdigest()
