"""What a request comes in on and its answer goes out on, whichever server is below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hypercorn.typing import HTTPScope

    from trio_router.server.request_body import RequestBody
    from trio_router.wire.written import Written

Headers = list[tuple[bytes, bytes]]  # names in lower case


class Link(Protocol):
    """One request and its answer.  The methods that write raise ClientStalled.

    A client that is gone makes no write fail: who reads from it notices, and cancels the request.
    """

    method: str
    path: str
    headers: Headers
    body: RequestBody

    @property
    def server(self) -> str | None:
        """The address that the request came in on; None if it has none (a Unix socket)."""
        ...

    @property
    def may_wait_for_body(self) -> bool:
        """Whether the rest of the body is on its way without being asked for."""
        ...

    def scope(self) -> HTTPScope:
        """The request as ASGI describes it."""
        ...

    async def start(self, status: int, headers: Headers) -> None:
        """The answer's head; it may be held back until there is something to follow it."""
        ...

    async def write(self, data: bytes) -> None:
        """A piece of the body; an empty one sends what is still held back."""
        ...

    def write_now(self, data: bytes) -> Written:
        """Writes what goes without waiting; NONE if that is nothing, or if somebody is in `write`."""
        ...

    async def finish(self, data: bytes = b"") -> None:
        """The last piece of the body, and the answer's end."""
        ...

    async def tear(self) -> None:
        """Ends an answer that broke off, so that the client can tell."""
        ...
