"""Work on long JSON, away from the event loop: one piece of it at a time, in a thread, in slices.

A thread costs 45 us there and back, and 60 us for each slice of 64 KB: what is short, which is the
usual case, stays on the loop.  `jsoncodec.is_heavy` says what is not.
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

# One for the whole process: two threads would keep the loop from its lock twice as long, and each piece
# of work takes several times its text in memory.
_ONE = trio.CapacityLimiter(1)


async def in_slices(work: Callable[[], T]) -> T:
    """What `work()` gives, or what it raises; in a thread, in its turn.

    On cancel it is not waited for: what it works on is nobody's any more.
    """
    return await trio.to_thread.run_sync(partial(_sliced, work), abandon_on_cancel=True, limiter=_ONE)


async def understood(
    data: bytes | bytearray, parse: Callable[[bytes | bytearray], T]
) -> tuple[T, bool]:
    """What `parse` makes of a request's body, and whether what is done with it is heavy work too."""
    if is_heavy(data):
        return await in_slices(partial(parse, data)), True
    return parse(data), False


def _sliced(work: Callable[[], T]) -> T:
    with sliced(partial(time.sleep, 0)):  # lets go of the interpreter's lock
        return work()
