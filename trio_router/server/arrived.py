"""What a request's link knows of it, whatever protocol the request came in on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from trio_router.server.request_body import RequestBody
    from trio_router.server.request_parser import RequestHead
    from trio_router.server.service import Service


class Carrier(Protocol):
    """The connection that a request came in on, as its link sees it."""

    host: str | None  # the address that it came in on
    client: tuple[str, int] | None  # where it comes from
    server: Service


C = TypeVar("C", bound=Carrier)


class ArrivedRequest(Generic[C]):
    """The part of a `Link` that tells of the request."""

    def __init__(self, connection: C, head: RequestHead, body: RequestBody) -> None:
        self._connection = connection
        self._head = head
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        self.body = body

    @property
    def server(self) -> str | None:
        return self._connection.host

    @property
    def client(self) -> str | None:
        client = self._connection.client
        return client[0] if client else None

    @property
    def raw_path(self) -> bytes:
        return self._head.raw_path

    @property
    def query(self) -> bytes:
        return self._head.query

    @property
    def is_secure(self) -> bool:
        return self._connection.server.scheme == "https"

    def _free_headers(self) -> None:
        """Nobody needs them any more, and a stream would keep them for as long as it lasts."""
        self.headers = self._head.headers = []
