"""The configuration that all workers are to have, kept in the folder that they share.

A worker that is started later takes it from there, whatever the configuration's file holds by then.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import trio

from trio_router.wire.jsoncodec import dumps, loads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_LOOK = 0.02  # s between two looks at a lock that another process holds


@dataclass(frozen=True, slots=True)
class Accepted:
    """`number` is the generation's, `text` the file's; `report` tells of the last reload.

    `certificate` has the marks of the certificate's files.  `grace` is the generation's
    `server.graceful_timeout`, in seconds.
    """

    number: int
    text: str
    certificate: tuple[str, ...]
    grace: float
    report: dict[str, Any]

    def as_message(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_message(cls, message: dict[str, Any]) -> Accepted:
        number, text, grace, report = (message[n] for n in ("number", "text", "grace", "report"))
        return cls(number, text, tuple(message["certificate"]), grace, report)


class AcceptedFile:
    """The file that keeps it.  It holds secrets: only this user can read it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "accepted.json"
        self._lock = folder / "accepted.lock"

    def read(self) -> Accepted | None:
        """What was accepted last; None if nothing was reloaded since the start."""
        try:
            return Accepted.of_message(loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None

    def write(self, accepted: Accepted) -> None:
        """Replaces what is kept.  A reader gets the old or the new one, whole.  Raises OSError."""
        new = self._path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(dumps(accepted.as_message()))
        new.replace(self._path)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Lets one process at a time inside.  The place of a process that dies is free again."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _locked(descriptor):  # noqa: ASYNC110 - another process holds it
                await trio.sleep(_LOOK)
            yield
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
