"""Seeing that files change, however they are replaced.

The folders are watched, not the files: an editor or a deployment replaces a file by renaming another
onto it, and Kubernetes swaps a symbolic link beside it.  An event says only that it is time to look;
what is looked at decides whether anything has changed.  Where events get lost (some network file
systems, a folder that is replaced itself), a look every few seconds finds the change all the same.
"""

from __future__ import annotations

import logging
import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Look = Callable[[], Awaitable[None]]
    # A folder by its path, device and inode: another one may come in its place.
    Folders = frozenset[tuple[str, int, int]]

logger = logging.getLogger("trio_router")
_POLL = 2.0  # s between two looks where no event comes
_MOST_LINKS = 40  # links in a row, as the system itself follows them


async def watch_files(paths: Callable[[], Iterable[Path]], look: Look) -> None:
    """Calls `look` when one of `paths()` may have changed, and every few seconds, until cancelled."""
    is_told = False
    while True:
        folders = await trio.to_thread.run_sync(folders_of, list(paths()))
        await look()
        try:
            if folders:
                await _watch_folders(folders, paths, look)
        except* (OSError, RuntimeError) as faults:  # no more watches to be had, or the folder is gone
            if not is_told:
                fields = {"reason": str(faults.exceptions[0])}
                logger.warning("files are looked at now and then only", extra={"fields": fields})
            is_told = True
        await trio.sleep(_POLL if is_told or not folders else 0)


async def _watch_folders(folders: Folders, paths: Callable[[], Iterable[Path]], look: Look) -> None:
    """Returns when the files stand in other folders.  Raises OSError."""
    from watchfiles import awatch  # takes 40 ms: only who watches pays for it

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_when_cancelled, stop)
        events = awatch(
            *[path for path, _, _ in folders],
            watch_filter=None,
            recursive=False,
            rust_timeout=round(_POLL * 1000),
            yield_on_timeout=True,
            stop_event=stop,
            ignore_permission_denied=True,
        )
        async with aclosing(events):
            async for _ in events:
                await look()
                if await trio.to_thread.run_sync(folders_of, list(paths())) != folders:
                    break
        nursery.cancel_scope.cancel()


async def _set_when_cancelled(stop: trio.Event) -> None:
    """Without it the thread that waits for events would hold up a cancel for as long as it waits."""
    try:
        await trio.sleep_forever()
    finally:
        stop.set()


def folders_of(paths: Iterable[Path]) -> Folders:
    """The folders in which a change can change what `paths` lead to: of each file, and of each link."""
    found = set()
    for path in paths:
        for folder in _folders_along(path):
            try:
                status = os.stat(folder)
            except OSError:
                continue
            found.add((str(folder), status.st_dev, status.st_ino))
    return frozenset(found)


def _folders_along(path: Path) -> Iterable[Path]:
    """The folder of `path`, and those of the links that lead on, in the last or an earlier part."""
    yield path.parent
    waiting = [*reversed(path.absolute().parts)]
    here = Path(waiting.pop())
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            here = here.parent
            continue
        here /= part
        try:
            target = here.readlink()
        except OSError:  # no link, or not there
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        yield here.parent
        waiting += reversed(target.parts)
        here = Path(waiting.pop()) if target.is_absolute() else here.parent
    yield here.parent
