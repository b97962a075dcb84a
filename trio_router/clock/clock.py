"""Time and chance, in one value that is passed in.

The router takes wall time, monotonic time, random numbers and random bytes only from a `Clock`.  A
simulation passes its own, so that a seed decides all of them.  Inside the event loop
`trio.current_time()` is the monotonic time, because trio's clock can be replaced already.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall`: seconds since the epoch.  `monotonic`: seconds, outside the event loop.

    `random`: a number from 0 up to, but not including, 1.  `token`: that many random bytes.
    """

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    random: Callable[[], float]
    token: Callable[[int], bytes]


SYSTEM = Clock(time.time, time.monotonic, random.random, os.urandom)
