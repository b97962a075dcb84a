"""Names of models and providers: which are valid, and how invalid ones are written safely."""

from __future__ import annotations

from urllib.parse import quote

from trio_router.errors import InvalidRequest

_DOTS = (".", "..")


def name_complaint(name: str) -> str:
    """What is wrong with a name, "" if nothing is.

    Invisible characters (control characters, line separators, lone surrogates, bidirectional marks)
    could forge lines of a log and break encoders; empty segments and segments of dots could climb in
    paths.
    """
    if not name.isprintable():
        return "holds a character that cannot be printed"
    segments = name.split("/")
    if "" in segments:
        return "has an empty segment"
    if any(dots in segments for dots in _DOTS):
        return "has a segment of dots alone"
    return ""


def escaped(text: str) -> str:
    """`text` in one line that can be encoded: what cannot be printed is written as Python writes it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def path_segment(name: str) -> str:
    """`name` as one segment of a URL's path.  Raises InvalidRequest for one that would climb."""
    if name in ("", *_DOTS):
        raise InvalidRequest(f"the model's name {name!r} cannot stand in a path", param="model")
    return quote(name, safe="", errors="replace")
