"""The one table of endpoints: which function answers a method and a path, and what is said of it.

Every server asks it, whatever protocol a request came in on.  What is not in it is answered too, by an
endpoint that raises the right error, so that every error goes one way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trio_router.api.paths import Paths
from trio_router.errors import MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import NoReturn

    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest

    Endpoint = Callable[[ClientRequest], Awaitable[Reply]]
    EndpointRows = Mapping[tuple[str, str], "EndpointRow"]


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """What answers, and how its requests are treated.

    `is_booked`: they stand in the log, the metrics and the history, and a drain waits for them.  What
    operators and their tools ask for is not booked.  `is_endless`: a GET does not end by itself.
    """

    endpoint: Endpoint
    is_booked: bool = True
    is_endless: bool = False


@dataclass(frozen=True, slots=True)
class Below:
    """The row of paths that begin with `prefix`.  `methods` says which ones a path has, if any."""

    prefix: str
    methods: Callable[[str], set[str]]
    row: EndpointRow


class EndpointTable:
    """`exact` are rows by method and path.

    A HEAD is answered as the GET of the same path is, unless that is endless.
    """

    def __init__(self, exact: EndpointRows, below: Iterable[Below] = ()) -> None:
        self.exact = dict(exact)
        self._below = tuple(below)
        for (method, path), row in exact.items():
            if method == "GET" and not row.is_endless:
                self.exact.setdefault(("HEAD", path), row)
        self.paths = Paths({path for _, path in self.exact}, self._is_below)
        self._nowhere = EndpointRow(self._not_found)

    def _is_below(self, path: str) -> bool:
        return any(path.startswith(below.prefix) and below.methods(path) for below in self._below)

    def find(self, method: str, path: str) -> EndpointRow:
        """The row that answers.  Its endpoint raises NotFound or MethodNotAllowed where none does."""
        row = self.exact.get((method, path))
        if row is not None:
            return row
        known = {at: row for (at, there), row in self.exact.items() if there == path}
        for below in self._below:
            if path.startswith(below.prefix):
                methods = below.methods(path)
                if "GET" in methods:
                    methods = methods | {"HEAD"}
                if method in methods:
                    return below.row
                known |= dict.fromkeys(methods, below.row)
        if not known:
            return self._nowhere
        # Booked as the path's other methods are.
        return replace(next(iter(known.values())), endpoint=_method_not_allowed(known))

    async def _not_found(self, asked: ClientRequest) -> NoReturn:
        near = " or ".join(self.paths.near(asked.link.path))
        hint = f"; did you mean {near}?" if near else ""
        raise NotFound(f"{_asked_for(asked)}: there is nothing here{hint}")


def _method_not_allowed(allowed: Iterable[str]) -> Endpoint:
    async def refuse(asked: ClientRequest) -> NoReturn:
        what = f"{_asked_for(asked)}: the method is not allowed here"
        raise MethodNotAllowed(what, allow=", ".join(sorted(allowed)))

    return refuse


def _asked_for(asked: ClientRequest) -> str:
    return f"{asked.link.method} {asked.link.path}"[:200]
