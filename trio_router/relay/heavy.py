"""Work on long JSON away from the event loop: one job at a time, in a thread, in slices.

A thread costs 45 us there and back, and 60 us for each slice of 64 KB.  So short JSON, the usual case,
stays on the loop; `jsoncodec.is_heavy` says which JSON is long.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from trio_router.wire.jsoncodec import is_heavy, sliced

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# One for the whole process: two threads would hold the interpreter's lock twice as long, and each job
# takes several times its text in memory.
_ONE = trio.CapacityLimiter(1)


async def in_slices(work: Callable[[], T]) -> T:
    """Runs `work()` in a thread, in its turn.  Returns or raises what it does.

    On cancel the thread is abandoned: nobody uses its data any more.
    """
    return await trio.to_thread.run_sync(partial(_sliced, work), abandon_on_cancel=True, limiter=_ONE)


async def understood(
    data: bytes | bytearray, parse: Callable[[bytes | bytearray], T]
) -> tuple[T, bool]:
    """What `parse` makes of a request's body, and whether further work on it is heavy, too."""
    if is_heavy(data):
        return await in_slices(partial(parse, data)), True
    return parse(data), False


def _sliced(work: Callable[[], T]) -> T:
    with sliced(partial(time.sleep, 0)):  # releases the interpreter's lock
        return work()
