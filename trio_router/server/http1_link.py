"""One HTTP/1.1 request on a client's connection, and the writing of its answer."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import trio

from trio_router.errors import ClientStalled, InvalidRequest, Overloaded, RequestTimeout, RouterError
from trio_router.server.arrived import ArrivedRequest, Carrier
from trio_router.server.request_parser import chunk, response_head
from trio_router.transport.sockets import BROKEN
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.websocket import accept_of
from trio_router.wire.written import Written, unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.server.link import Answer, Headers
    from trio_router.server.request_body import RequestBody
    from trio_router.server.request_parser import RequestHead
    from trio_router.transport.sockets import Wire

_LAST = chunk(b"")
BODILESS = frozenset({204, 304})
_FAULTS = {
    400: "this is not an HTTP request",
    408: "the request's head did not come in time",
    431: "the request's head is too large",
    503: "too many connections are open",
    505: "this server speaks HTTP/1.1 and HTTP/2",
}
_CLASSES: dict[int, type[RouterError]] = {408: RequestTimeout, 503: Overloaded}


class Http1Carrier(Carrier, Protocol):
    """The connection that a request came in on, as its link sees it."""

    wire: Wire

    def switch(self, answer: Answer, new_body: Callable[[], RequestBody]) -> None:
        """What comes from now on is a WebSocket's."""
        ...


class Http1Link(ArrivedRequest[Http1Carrier]):
    """See `Link`.  The head, and what the socket did not take, wait for the next write."""

    def __init__(self, connection: Http1Carrier, head: RequestHead, body: RequestBody) -> None:
        super().__init__(connection, head, body)
        self._wire = connection.wire
        self.keep_alive = head.keep_alive
        self.is_finished = False
        self._held = b""
        self._is_chunked = False
        self._is_bodiless = False
        self._is_writing = False
        self.on_moved: Callable[[], None] = unheard
        self._expects = head.header(b"expect").lower() == b"100-continue" and not head.is_old
        if self._expects:
            body.on_wanted = self._invite

    @property
    def offer(self) -> SwitchOffer | None:
        head = self._head
        if not head.offers_other or head.is_old or head.header(b"upgrade").lower() != b"websocket":
            return None
        accept = accept_of(head.header(b"sec-websocket-key"))
        if accept is None or head.header(b"sec-websocket-version") != b"13" or self.method != "GET":
            return None
        return SwitchOffer(self, accept)

    @property
    def may_wait_for_body(self) -> bool:
        return not self._expects

    async def start(self, status: int, headers: Headers) -> None:
        self._is_bodiless = self.method == "HEAD" or status in BODILESS
        has_length = False
        body = self.body
        if not body.is_complete or body.is_torn:
            self.keep_alive = False
        fields: Headers = []
        for field in headers:
            name = field[0]
            if name == b"connection":
                if field[1] == b"close":
                    self.keep_alive = False
                continue
            if name == b"content-length":
                has_length = True
            fields.append(field)
        if not has_length and not self._is_bodiless:
            if self._head.is_old:
                self.keep_alive = False
            else:
                self._is_chunked = True
                fields.append((b"transfer-encoding", b"chunked"))
        fields.append((b"date", date_at(self._connection.server.wall())))
        if not self.keep_alive:
            fields.append((b"connection", b"close"))
        elif self._head.is_old:
            fields.append((b"connection", b"keep-alive"))
        self._held = response_head(status, fields)
        self._free_headers()

    async def switch(self, head: bytes, answer: Answer) -> None:
        """Sends `head`; what follows it is a WebSocket's."""
        await self._send(head)
        self.is_finished = True
        path, app = self.path, self._connection.server.app
        self._connection.switch(answer, lambda: app.new_body(path, None))

    async def write(self, data: bytes) -> None:
        await self._send(self._framed(data))

    def write_now(self, data: bytes) -> Written:
        if self._is_writing or self._held:
            return Written.NONE
        framed = self._framed(data)
        try:
            sent = self._wire.send_some(framed)
        except BROKEN:
            return Written.ALL  # the reading task will see it
        if sent == len(framed):
            return Written.ALL
        if not sent:
            return Written.NONE
        self._held = framed[sent:]
        return Written.HELD

    async def finish(self, data: bytes = b"") -> None:
        end = self._framed(data)
        await self._send(end + _LAST if self._is_chunked else end)
        self.is_finished = True

    async def tear(self) -> None:
        """Nothing to do: a connection whose answer is not finished is closed in any case."""

    def _framed(self, data: bytes) -> bytes:
        if self._is_bodiless or not data:
            return b""
        return chunk(data) if self._is_chunked else data

    async def _send(self, data: bytes) -> None:
        """Sends what is held back, and `data`.  On cancel closes the connection: half may be sent."""
        data, self._held = self._held + data, b""
        self._is_writing = True
        try:
            sent = self._wire.send_some(data)
            if sent < len(data):
                stall = self._connection.server.stall
                await self._wire.send_patiently(memoryview(data)[sent:], stall, self.on_moved)
        except BROKEN:
            pass  # the reading task notices
        except trio.TooSlowError:
            self._wire.close()
            raise ClientStalled from None
        except BaseException:
            self._wire.close()
            raise
        finally:
            self._is_writing = False

    async def _invite(self) -> None:
        """Sends 100 Continue to a client that waits for it before its body (RFC 9110, 10.1.1)."""
        self._expects = False
        await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")


class SwitchOffer:
    """See `Offer`.  `accept` answers the client's key."""

    def __init__(self, link: Http1Link, accept: bytes) -> None:
        self._link = link
        self._accept = accept

    async def accept(self, headers: Headers, answer: Answer) -> None:
        own = [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-accept", self._accept),
        ]
        await self._link.switch(response_head(101, [*own, *headers]), answer)


def refusal(status: int, wall: float) -> bytes:
    """The whole answer to a request that cannot be parsed or served."""
    error = _CLASSES.get(status, InvalidRequest)(_FAULTS[status])
    body = dumps(error.body())
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"date", date_at(wall)),
        (b"connection", b"close"),
    ]
    if status == 503:
        fields.append((b"retry-after", b"1"))
    return response_head(status, fields) + body


def date_at(wall: float) -> bytes:
    """The Date header's value at that Unix time."""
    return _date_of(int(wall))


@lru_cache(maxsize=1)
def _date_of(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
