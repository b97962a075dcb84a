"""What happened in a world, in order, and the digest that says whether two histories are equal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING

from trio_router.simulation.stage import BEGINNING

if TYPE_CHECKING:
    from trio_router.simulation.stage import Scheduler

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

    def __init__(self, stage: Scheduler, *, is_kept: bool = False) -> None:
        self._stage = stage
        self._hash = hashlib.blake2b(digest_size=16)
        self._times: list[float] = []  # of what is not digested yet
        self._words: list[str] = []  # two for each
        self._data: list[bytes] = []
        self.lines: list[Happening] | None = [] if is_kept else None

    def note(self, who: str, what: str, data: bytes = b"") -> None:
        # A world has thousands of notes: what can be done for many at once waits for it.
        self._times.append(self._stage.now)
        self._words += (who, what)
        self._data.append(data)
        if len(self._times) > _TOGETHER:
            self._digest_waiting()
        if self.lines is not None:
            self.lines.append(Happening(self._stage.now - BEGINNING, who, what, data))

    def _digest_waiting(self) -> None:
        update = self._hash.update
        update(pack(f">{len(self._times)}d", *self._times))
        update("\n".join(self._words).encode("utf-8", "surrogatepass"))
        update(pack(f">{len(self._data)}Q", *map(len, self._data)))
        update(b"".join(self._data))
        self._times.clear()
        self._words.clear()
        self._data.clear()

    @property
    def digest(self) -> str:
        self._digest_waiting()
        return self._hash.hexdigest()
