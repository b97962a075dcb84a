"""What stands behind an error."""

from __future__ import annotations


def free_causes(fault: BaseException) -> None:
    """Frees the frames that the errors behind `fault` passed.

    Trio translates a socket's errors in a context manager that is a generator.  From Python 3.12 on
    such a one leaves the first error in a cycle with its traceback, and with that all that waited for
    the socket: the request, its connection and its upstream.  Whoever catches the second error of a
    stream of trio's calls this.
    """
    behind = fault.__cause__ or fault.__context__
    while behind is not None and behind.__traceback__ is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
