"""What an operator works with: a router's configuration file, and what tells that it has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_router.runtime.reload import Reloader
from trio_router.runtime.source import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from trio_router.runtime.generation import Generation
    from trio_router.runtime.reload import ReloadReport
    from trio_router.runtime.router import Router


class SimFile:
    """Stands where a configuration file's path does; `text` is what the file holds now."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.read = text  # what its reader has read last
        self.changed = trio.Event()

    def __str__(self) -> str:
        return "router.yaml"

    def read_bytes(self) -> bytes:
        return self.text.encode()

    def write(self, text: str) -> None:
        """Who watches the file is told, as the kernel would."""
        self.text = text
        changed, self.changed = self.changed, trio.Event()
        changed.set()


@dataclass(frozen=True, slots=True)
class SimSource(Source):
    """A source whose `path` is a `SimFile`."""

    def read(self) -> str:
        file: Any = self.path
        file.read = text = file.text
        return str(text)


def source_of(file: SimFile) -> SimSource:
    environ: Mapping[str, str] = {}
    return SimSource(file, file.text, environ)  # type: ignore[arg-type]


def text_of(config: dict[str, Any] | str) -> str:
    """A configuration as a file has it; a text stays as it is."""
    return config if isinstance(config, str) else msgspec.json.encode(config).decode()


@dataclass(frozen=True, slots=True)
class Reloaded:
    """One reload: what the file held, what the router told of it, what was in force then."""

    text: str
    report: ReloadReport
    generation: Generation


class SimReloader(Reloader):
    """Tells `note` of each report, as it tells the log."""

    def __init__(self, router: Router, file: SimFile, note: Callable[[Reloaded], None]) -> None:
        super().__init__(router, source_of(file))
        self._file_read = file
        self._note_report = note

    def _log(self, report: ReloadReport) -> None:
        self._note_report(Reloaded(self._file_read.read, report, self._router.generation))
        super()._log(report)


async def watch_files(
    paths: Callable[[], Sequence[SimFile]], look: Callable[[], Awaitable[None]]
) -> None:
    """In place of `runtime.watch.watch_files`: calls `look` when the first of `paths()` has changed."""
    while True:
        changed = paths()[0].changed
        await look()
        await changed.wait()
