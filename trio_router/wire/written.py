"""What became of bytes that were to be written without waiting."""

from __future__ import annotations

from enum import Enum


class Written(Enum):
    """What the writer does next.  Members are compared with `is`; none is made per write."""

    ALL = "all"  # every byte has gone, or nobody is there to take it: nothing to do
    NONE = "none"  # no byte was taken: the same data is to be given to a write that waits
    HELD = "held"  # all was taken and the rest is held back: an empty write that waits sends it


def unheard() -> None:
    """What is called when something was taken, and nobody needs to know."""
