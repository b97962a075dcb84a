"""Paths as clients write them, and the paths of the table that they mean.

People give their clients the router's address with `/v1` and without, with a slash at its end, or with
a `/v1` that the client adds once more.  A path is put right once, before anything looks at it: whatever
is checked, served and counted sees the path that answers.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_VERSION = "/v1"
_LONGEST = 1024  # characters of a path that is put right
_COMPARED = 100  # characters of a wrong path that are compared with the known ones
_ALIASES = {"/health": "/healthz", "/v1/health": "/healthz", "/v1/healthz": "/healthz"}
_OPERATORS = ("/dashboard", "/admin/", "/metrics")  # whose paths no client is told


class Paths:
    """`exact` are paths that answer; `is_below` says whether something answers any other path."""

    def __init__(self, exact: Iterable[str], is_below: Callable[[str], bool]) -> None:
        self._exact = frozenset(exact)
        self._is_below = is_below
        self._told = sorted(path for path in self._exact if not path.startswith(_OPERATORS))

    def meant(self, path: str) -> str:
        """The path that answers, or `path` itself if none does."""
        if path in self._exact or len(path) > _LONGEST:
            return path
        return next(filter(self._is_known, _candidates(path)), path)

    def near(self, path: str) -> list[str]:
        """Paths that somebody may have meant who has asked for `path`; the nearest first."""
        _, *asked = _candidates(path[:_COMPARED])
        begins = tuple(f"{one}/" for one in asked if one != "/")
        longer = [known for known in self._told if known.startswith(begins)]
        return longer[:2] or difflib.get_close_matches(asked[1], self._told, n=2, cutoff=0.7)

    def _is_known(self, path: str) -> bool:
        return path in self._exact or self._is_below(path)


def _candidates(path: str) -> Iterator[str]:
    """What `path` may mean, the likeliest first."""
    yield path
    plain = "/" + "/".join(filter(None, path.split("/")))
    yield plain
    while plain.startswith(_VERSION * 2):  # before Google's /v1beta, too
        plain = plain.removeprefix(_VERSION)
    yield _ALIASES.get(plain, plain)
    if not plain.startswith(f"{_VERSION}/"):
        yield _VERSION + plain
