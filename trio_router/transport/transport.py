"""An httpx transport made for long streams: HTTP/1.1 on trio, with a pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import trio

from trio_router.transport.body import ResponseBody
from trio_router.transport.dial import Connect, Origin, dial
from trio_router.transport.http1 import HeadTemplate, OutgoingHead
from trio_router.transport.pool import Pool, PoolClosed
from trio_router.transport.proxy import ProxyTable
from trio_router.transport.round_trip import OutgoingRequest, RoundTrip, UpstreamConnection
from trio_router.transport.sockets import open_tcp

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, Callable, Mapping

    from trio_router.clock.alarms import Alarm
    from trio_router.transport.http1 import ResponseParser

    Timeouts = Mapping[str, float | None]  # in seconds, by httpx's names for them

# s within which a kept connection shows that it was dead already.  If it ends later, the upstream may
# have begun to work on the request, and a POST must not be sent twice.
_STALE = 1.0
_PORTS = {"http": 80, "https": 443}


class TransportResponse:
    """A response whose head has come.  Whoever holds it must close `body`."""

    __slots__ = ("_response", "body", "headers", "status")

    def __init__(self, response: ResponseParser, body: ResponseBody) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def as_httpx(self) -> httpx.Response:
        return httpx.Response(
            self.status,
            headers=self.headers,
            stream=self.body,
            extensions={
                "http_version": self._response.http_version,
                "reason_phrase": self._response.reason,
            },
        )


@dataclass(frozen=True, slots=True)
class PreparedPost:
    """The origin of a target's POSTs, and the template of their heads."""

    origin: Origin
    template: HeadTemplate
    url: httpx.URL


class StreamTransport(httpx.AsyncBaseTransport):
    """Sends requests over kept connections and returns each read of a response as it comes.

    `ssl_context` is made on the first https request if it is None, as httpx makes its own.
    `max_connections` limits the connections that are open, idle or being opened (None: no limit);
    waiters are served in order.  At most `max_keepalive` are kept idle, each for `keepalive_expiry`
    seconds.  With `trust_env` the proxy variables are obeyed; SSL_CERT_FILE and SSL_CERT_DIR, which
    say whom this machine trusts, always are.
    `connect` opens a stream to a host and port, TCP if it is None.

    A request's timeouts are those of httpx, in seconds, in `extensions["timeout"]`; `connect`
    covers name, TCP, tunnel and TLS together.  `extensions["on_sent"]`, if given, is called
    without arguments when the kernel has the request's last byte.

    On cancel, wherever it comes, the connection is closed at once and its slot is free.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        max_keepalive: int = 1024,
        keepalive_expiry: float = 30.0,
        trust_env: bool = True,
        connect: Connect | None = None,
    ) -> None:
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._connect = connect or open_tcp
        self._proxies = ProxyTable.from_environment() if trust_env else ProxyTable({})
        self._pool: Pool[UpstreamConnection] = Pool(max_connections, max_keepalive, keepalive_expiry)

    @property
    def open_connections(self) -> int:
        """Connections in use, idle or being opened."""
        return self._pool.open

    @property
    def idle_connections(self) -> int:
        """Connections kept for the next request."""
        return self._pool.idle

    def ring_with(self, alarm: Callable[[Callable[[], None]], Alarm]) -> None:
        """Has idle connections closed when they expire, whether anybody asks again or not."""
        self._pool.ring_with(alarm)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response.  The caller reads and closes its body.

        Raises httpx.TransportError in its kinds: PoolTimeout, ConnectError, ConnectTimeout,
        ProxyError, WriteError, WriteTimeout, ReadError, ReadTimeout, RemoteProtocolError,
        LocalProtocolError, UnsupportedProtocol.  A kept connection that proves dead at once, before
        any byte of the response, is replaced once, if the request can be sent again.
        """
        timeouts: Timeouts = request.extensions.get("timeout") or {}
        origin = self._origin(request.url)
        outgoing = _outgoing(request, origin)
        answer = await self._ask(origin, outgoing, timeouts, request.extensions.get("on_sent"))
        return answer.as_httpx()

    def prepare(self, url: httpx.URL, headers: list[tuple[bytes, bytes]]) -> PreparedPost:
        """POSTs to `url` with `headers`.  Raises httpx.UnsupportedProtocol, LocalProtocolError."""
        origin = self._origin(url)
        target, extra = _target(url, origin)
        fields = [(b"host", url.netloc), *headers, *extra]
        return PreparedPost(origin, HeadTemplate(target, fields), url)

    async def post(
        self,
        prepared: PreparedPost,
        body: bytes,
        request_id: bytes,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        more: bytes = b"",
    ) -> TransportResponse:
        """Like `handle_async_request`, but without httpx's own objects, which would double the cost."""
        head = prepared.template.head(request_id, len(body), more)
        return await self._ask(prepared.origin, OutgoingRequest(head, body), timeouts, on_sent)

    async def send(
        self,
        method: bytes,
        url: httpx.URL,
        headers: list[tuple[bytes, bytes]],
        body: bytes | AsyncIterable[bytes],
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
    ) -> TransportResponse:
        """Sends any request.  A body in pieces is read as fast as the other side takes it, and only as
        long as its answer needs more; without a content-length among `headers` it is sent in chunks.

        Raises what `body` raises, after closing the connection.
        """
        origin = self._origin(url)
        target, extra = _target(url, origin)
        fields = [(b"host", url.netloc), *headers, *extra]
        whole = body if isinstance(body, bytes) else None
        pieces = None if isinstance(body, bytes) else body
        head = OutgoingHead(method, target, fields, whole)
        outgoing = OutgoingRequest(head, whole, pieces, bodyless_response=method == b"HEAD")
        return await self._ask(origin, outgoing, timeouts, on_sent)

    async def _ask(
        self,
        origin: Origin,
        outgoing: OutgoingRequest,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None,
    ) -> TransportResponse:
        connection = await self._acquire(origin, timeouts)
        if connection.used:
            try:
                return await self._ask_on(connection, outgoing, timeouts, on_sent)
            except _Stale:
                connection = await self._open(origin, timeouts)
        return await self._ask_on(connection, outgoing, timeouts, on_sent)

    def close(self) -> None:
        """Close every connection, also those in use.  Later requests raise httpx.ConnectError."""
        self._pool.close()

    async def aclose(self) -> None:
        """Like `close`, under httpx's name."""
        self.close()

    def _origin(self, url: httpx.URL) -> Origin:
        scheme = url.scheme
        if scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"scheme {scheme!r} is not supported")
        host = url.raw_host.decode("ascii")
        if not host:
            raise httpx.UnsupportedProtocol("the URL has no host")
        port = url.port or _PORTS[scheme]
        return Origin(scheme, host, port, self._proxies.proxy_for(scheme, host, port))

    async def _acquire(self, origin: Origin, timeouts: Timeouts) -> UpstreamConnection:
        try:
            available, connection = self._pool.take(origin)
            if not available:
                connection = await self._wait(origin, timeouts.get("pool"))
        except PoolClosed:
            raise httpx.ConnectError("the transport is closed") from None
        return connection or await self._open(origin, timeouts)

    async def _wait(self, origin: Origin, limit: float | None) -> UpstreamConnection | None:
        if limit is None:
            return await self._pool.wait(origin)
        with trio.move_on_after(limit):
            return await self._pool.wait(origin)
        raise httpx.PoolTimeout(f"no connection was free within {limit} s")

    async def _open(self, origin: Origin, timeouts: Timeouts) -> UpstreamConnection:
        """Opens a connection in a slot that we hold."""
        try:
            wire = await dial(origin, self._connect, self._context, timeouts.get("connect"))
            connection = UpstreamConnection(origin, wire)
            self._pool.adopt(connection)
        except BaseException as fault:
            self._pool.release_slot()
            if isinstance(fault, PoolClosed):
                raise httpx.ConnectError("the transport is closed") from None  # noqa: ASYNC104
            raise
        return connection

    async def _ask_on(
        self,
        connection: UpstreamConnection,
        outgoing: OutgoingRequest,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None,
    ) -> TransportResponse:
        """Raises _Stale if another connection may succeed; the slot is still ours then."""
        exchange = RoundTrip(
            connection.wire, outgoing, write=timeouts.get("write"), read=timeouts.get("read")
        )
        begun_at = trio.current_time()
        try:
            begun = await exchange.run(on_sent)
        except BaseException as fault:
            exchange.response.close()
            is_early = trio.current_time() - begun_at <= _STALE
            if connection.used and is_early and outgoing.repeatable and _is_stale(exchange, fault):
                self._pool.replace(connection)
                raise _Stale from None  # noqa: ASYNC104 - never raised for a cancellation
            self._pool.discard(connection)
            raise
        connection.used += 1
        body = ResponseBody(self._pool, connection, exchange, begun)
        return TransportResponse(exchange.response, body)

    def _context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = httpx.create_ssl_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context


class _Stale(Exception):
    """A kept connection was dead before any byte of the response came."""


def _is_stale(exchange: RoundTrip, fault: BaseException) -> bool:
    broken = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
    return isinstance(fault, broken) and not exchange.response.touched


def _outgoing(request: httpx.Request, origin: Origin) -> OutgoingRequest:
    return OutgoingRequest.of(request, *_target(request.url, origin))


def _target(url: httpx.URL, origin: Origin) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The target in the request line, and the fields for a proxy."""
    if origin.proxy is None or origin.scheme == "https":
        return url.raw_path, []
    return b"http://" + url.netloc + url.raw_path, list(origin.proxy.headers)
