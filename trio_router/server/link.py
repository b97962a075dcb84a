"""The interface between a server and an application: one request, and the way to answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.server.request_body import RequestBody
    from trio_router.wire.written import Written

    Answer = Callable[[RequestBody, "MessageWriter"], "Answering"]

Headers = list[tuple[bytes, bytes]]  # names in lower case


class Answering(Protocol):
    """A request that is being answered."""

    async def run(self) -> None:
        """Answers it, to the answer's end.  On cancel all that it has opened is released."""
        ...

    def client_left(self) -> None:
        """Nobody reads the answer any more: what the request has opened is released at once."""
        ...


class App(Protocol):
    """What answers requests: all that a server knows of it."""

    def new_body(self, path: str, declared: int | None) -> RequestBody:
        """The body of a request for `path`; `declared` is its content-length, None without one."""
        ...

    def request(self, link: Link) -> Answering:
        """The request that came in on `link`; the server runs it."""
        ...


class MessageWriter(Protocol):
    """The way to answer a message of a WebSocket.  The method that waits raises ClientStalled.

    Writes to a client that has left do not fail: the task that reads from it cancels the request.
    """

    on_moved: Callable[[], None]  # called each time that the client has taken a part of a long write
    is_answered: bool  # set by whoever has sent the whole answer: else the connection is closed

    @property
    def is_free(self) -> bool:
        """Whether nothing waits to be written."""
        ...

    def send_now(self, frames: bytes) -> Written:
        """Writes what goes without waiting, and holds the rest back.  Only if it `is_free`."""
        ...

    async def send(self, frames: bytes = b"") -> None:
        """Writes whole frames, and what is held back."""
        ...


class Offer(Protocol):
    """A client's offer to go on as a WebSocket."""

    async def accept(self, headers: Headers, answer: Answer) -> None:
        """Switches; `answer` makes a request of each message, with the way to answer it."""
        ...


class Link(Protocol):
    """One request and its answer.  The methods that write raise ClientStalled.

    Writes to a client that has left do not fail: the task that reads from it cancels the request.
    """

    method: str
    path: str
    headers: Headers
    body: RequestBody
    on_moved: Callable[[], None]  # called each time that the client has taken a part of a long write

    @property
    def server(self) -> str | None:
        """The server's address that the request came in on; None if it has none (a Unix socket)."""
        ...

    @property
    def offer(self) -> Offer | None:
        """None if the client offers none that this server can take."""
        ...

    @property
    def may_wait_for_body(self) -> bool:
        """Whether the client sends the rest of the body without waiting for 100 Continue."""
        ...

    @property
    def client(self) -> str | None:
        """The address that the request comes from; None if it has none (a Unix socket)."""
        ...

    @property
    def raw_path(self) -> bytes:
        """The path as it came, percent-encoded."""
        ...

    @property
    def query(self) -> bytes:
        """What stands behind the `?` of the request's target; empty without one."""
        ...

    @property
    def is_secure(self) -> bool:
        """Whether the request came over TLS."""
        ...

    async def start(self, status: int, headers: Headers) -> None:
        """Sends the answer's head; it may wait until something follows it."""
        ...

    async def write(self, data: bytes) -> None:
        """Sends a piece of the body; an empty one sends what is held back."""
        ...

    def write_now(self, data: bytes) -> Written:
        """Writes what goes without waiting; NONE if that is nothing, or if somebody is in `write`."""
        ...

    async def finish(self, data: bytes = b"") -> None:
        """Sends the last piece of the body, and ends the answer."""
        ...

    async def tear(self) -> None:
        """Ends an answer that broke off, so that the client can tell."""
        ...
