"""The one table of endpoints: which function answers a method and a path.

Every server asks it, whatever protocol a request came in on.  What is not in it is answered too, by an
endpoint that raises the right error, so that every error goes one way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_router.api.paths import Paths
from trio_router.errors import MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import NoReturn

    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest

    Endpoint = Callable[[ClientRequest], Awaitable[Reply]]
    Endpoints = Mapping[tuple[str, str], Endpoint]


@dataclass(frozen=True, slots=True)
class Below:
    """Endpoints whose paths begin with `prefix`.  `methods` says which ones a path has, if any."""

    prefix: str
    methods: Callable[[str], set[str]]
    endpoint: Endpoint


class EndpointTable:
    """`exact` are endpoints by method and path.  A HEAD is answered as the GET of the same path is.

    `endless` are paths whose GET does not end by itself: they have no HEAD.
    """

    def __init__(
        self, exact: Endpoints, below: Iterable[Below] = (), endless: Iterable[str] = ()
    ) -> None:
        self.exact = dict(exact)
        self._below = tuple(below)
        for (method, path), endpoint in exact.items():
            if method == "GET" and path not in endless:
                self.exact.setdefault(("HEAD", path), endpoint)
        self._paths = Paths({path for _, path in self.exact}, self._is_below)

    def meant(self, path: str) -> str:
        """The path of the table that a client's own path means: see `paths`."""
        return self._paths.meant(path)

    def _is_below(self, path: str) -> bool:
        return any(path.startswith(below.prefix) and below.methods(path) for below in self._below)

    def find(self, method: str, path: str) -> Endpoint:
        """What answers.  It raises NotFound or MethodNotAllowed where nothing does."""
        endpoint = self.exact.get((method, path))
        if endpoint is not None:
            return endpoint
        allowed = {known for known, at in self.exact if at == path}
        for below in self._below:
            if path.startswith(below.prefix):
                methods = below.methods(path)
                if "GET" in methods:
                    methods = methods | {"HEAD"}
                if method in methods:
                    return below.endpoint
                allowed |= methods
        return _method_not_allowed(allowed) if allowed else self._not_found

    async def _not_found(self, asked: ClientRequest) -> NoReturn:
        near = " or ".join(self._paths.near(asked.link.path))
        hint = f"; did you mean {near}?" if near else ""
        raise NotFound(f"{_asked_for(asked)}: there is nothing here{hint}")


def _method_not_allowed(allowed: set[str]) -> Endpoint:
    async def refuse(asked: ClientRequest) -> NoReturn:
        what = f"{_asked_for(asked)}: the method is not allowed here"
        raise MethodNotAllowed(what, allow=", ".join(sorted(allowed)))

    return refuse


def _asked_for(asked: ClientRequest) -> str:
    return f"{asked.link.method} {asked.link.path}"[:200]
