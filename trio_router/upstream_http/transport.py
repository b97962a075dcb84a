"""The httpx transport: a request out, an answer's head in, its body as it comes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import httpx
import trio

from trio_router.upstream_http.http1 import ProtocolError, ResponseParser, request_head
from trio_router.upstream_http.pool import Connection, Pool
from trio_router.upstream_http.proxy import Proxy, proxy_for
from trio_router.upstream_http.wires import SocketWire, StreamWire, Wire, open_tcp, with_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio_router.upstream_http.pool import Key

_LOST = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
_EARLY_ANSWER = 1.0  # s to find the answer of a server that closed while we were still sending
_JOINED = 65536  # bytes of a body that go out in one write with the head


class _StaleConnection(Exception):
    """A connection that was idle proved dead before a byte of the answer."""


class StreamTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1, plain or TLS, through a proxy of the environment if there is one.

    `request.extensions["timeout"]` bounds connect, read, write and pool, in seconds, each raised as
    httpx's own exception; `extensions["on_sent"]` is called when the request's last byte is out.
    Whoever leaves early, by `aclose` or by cancellation, anywhere, closes the connection at once and
    gives its slot back.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        max_keepalive: int = 1024,
        keepalive_expiry: float = 30.0,
        trust_env: bool = True,
        connect: Callable[[str, int], Awaitable[trio.abc.Stream]] | None = None,
    ) -> None:
        self._ssl_context = ssl_context
        self._pool = Pool(max_connections, max_keepalive, keepalive_expiry)
        self._trust_env = trust_env and connect is None
        self._open: Callable[[str, int], Awaitable[trio.abc.Stream]] = connect or open_tcp
        self._proxies: dict[tuple[str, str, int], Proxy | None] = {}

    @property
    def open_connections(self) -> int:
        return self._pool.open

    @property
    def idle_connections(self) -> int:
        return self._pool.idle

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body not read.  Raises httpx.TransportError."""
        try:
            return await self._attempt(request, fresh=False)
        except _StaleConnection:
            return await self._attempt(request, fresh=True)

    async def aclose(self) -> None:
        """Closes the idle connections; answers that are being read go on."""
        await self._pool.aclose()

    async def _attempt(self, request: httpx.Request, *, fresh: bool) -> httpx.Response:
        limits: dict[str, float | None] = request.extensions.get("timeout") or {}
        proxy = self._proxy_for(request.url)
        connection = await self._connection(request.url, proxy, limits, fresh=fresh)
        try:
            parser = ResponseParser(request.method.encode())
            exchange = _Exchange(connection, parser, limits)
            await exchange.send(request, proxy)
            await exchange.read_head()
        except BaseException:
            await self._pool.discard(connection)
            raise
        return httpx.Response(
            parser.status,
            headers=parser.headers,
            stream=_Body(self._pool, connection, exchange),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def _connection(
        self, url: httpx.URL, proxy: Proxy | None, limits: dict[str, float | None], *, fresh: bool
    ) -> Connection:
        key = _key(url, proxy)
        if fresh:
            self._pool.acquire_fresh()
        else:
            idle = await self._slot(key, limits.get("pool"))
            if idle is not None:
                return idle
        try:
            return Connection(key, await self._connected(url, proxy, limits.get("connect")))
        except BaseException:
            self._pool.give_back_slot()
            raise

    async def _slot(self, key: Key, limit: float | None) -> Connection | None:
        with trio.move_on_after(_seconds(limit)):
            return await self._pool.acquire(key)
        raise httpx.PoolTimeout(f"no free connection within {limit} s")

    async def _connected(self, url: httpx.URL, proxy: Proxy | None, limit: float | None) -> Wire:
        host, port = _place(url)
        try:
            with trio.move_on_after(_seconds(limit)):
                stream = await (
                    self._open(host, port) if proxy is None else self._open(proxy.host, proxy.port)
                )
                if url.scheme == "https":
                    if proxy is not None:
                        await _tunnel(stream, host, port, proxy)
                    return await with_tls(stream, self._context(), host)
                if isinstance(stream, trio.SocketStream):
                    return SocketWire(stream)
                return StreamWire(stream)
        except (*_LOST, ProtocolError) as fault:
            raise httpx.ConnectError(_reason(fault)) from fault
        raise httpx.ConnectTimeout(f"not connected within {limit} s")

    def _context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = httpx.create_ssl_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context

    def _proxy_for(self, url: httpx.URL) -> Proxy | None:
        if not self._trust_env:
            return None
        place = (url.scheme, *_place(url))
        if place not in self._proxies:
            try:
                self._proxies[place] = proxy_for(*place)
            except ValueError as fault:
                raise httpx.ProxyError(str(fault)) from None
        return self._proxies[place]


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(
        self, connection: Connection, parser: ResponseParser, limits: dict[str, float | None]
    ) -> None:
        self.parser = parser
        self._wire = connection.wire
        self._is_reused = connection.is_reused
        self._write_limit = limits.get("write")
        self._read_limit = limits.get("read")

    async def send(self, request: httpx.Request, proxy: Proxy | None) -> None:
        head, body = self._encoded(request, proxy)
        on_sent = request.extensions.get("on_sent")
        try:
            with trio.move_on_after(_seconds(self._write_limit)) as limit:
                if isinstance(body, bytes):
                    await self._send_bytes(head, body)
                else:
                    await self._wire.send(head)
                    await self._send_stream(request, body)
        except _LOST as fault:
            # A server may answer (413, say) and close before it has read everything.
            if not await self._finds_early_answer():
                self._raise_if_stale(request, fault)
                raise httpx.WriteError(_reason(fault)) from fault
        else:
            if limit.cancelled_caught:
                raise httpx.WriteTimeout(f"not sent within {self._write_limit} s")
        self._is_replayable = isinstance(body, bytes)
        if on_sent is not None:
            on_sent()

    async def read_head(self) -> None:
        while not self.parser.has_head:
            await self.read()

    async def read(self) -> None:
        """One read from the connection into the parser.  Raises httpx.TransportError."""
        try:
            data = await self._received()
        except _LOST as fault:
            if not self.parser.has_bytes and self._is_reused and self._is_replayable:
                raise _StaleConnection from fault
            raise httpx.ReadError(_reason(fault)) from fault
        try:
            if data:
                self.parser.receive_data(data)
            elif not self.parser.has_bytes and self._is_reused and self._is_replayable:
                raise _StaleConnection
            else:
                self.parser.receive_eof()
        except ProtocolError as fault:
            raise httpx.RemoteProtocolError(str(fault)) from fault

    async def _received(self) -> bytes:
        if self._read_limit is None:
            return await self._wire.receive()
        with trio.move_on_after(self._read_limit):
            return await self._wire.receive()
        raise httpx.ReadTimeout(f"nothing came within {self._read_limit} s")

    async def _finds_early_answer(self) -> bool:
        self._is_replayable = False
        with trio.move_on_after(_EARLY_ANSWER):
            try:
                await self.read_head()
            except httpx.TransportError:
                return False
            return True
        return False

    def _raise_if_stale(self, request: httpx.Request, fault: BaseException) -> None:
        if self._is_reused and not self.parser.has_bytes and _bytes_of(request) is not None:
            raise _StaleConnection from fault

    def _encoded(self, request: httpx.Request, proxy: Proxy | None) -> tuple[bytes, Any]:
        headers = list(request.headers.raw)
        target = request.url.raw_path
        if proxy is not None and request.url.scheme == "http":
            target = b"http://" + request.url.netloc + target
            if proxy.authorization is not None:
                headers.append((b"Proxy-Authorization", proxy.authorization))
        try:
            head = request_head(request.method.encode(), target, headers)
        except ValueError as fault:
            raise httpx.LocalProtocolError(str(fault)) from None
        body = _bytes_of(request)
        return head, request.stream if body is None else body

    async def _send_bytes(self, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED:
            await self._wire.send(head + body)
        else:
            await self._wire.send(head)
            await self._wire.send(body)

    async def _send_stream(self, request: httpx.Request, body: AsyncIterator[bytes]) -> None:
        is_chunked = request.headers.get("transfer-encoding", "").lower() == "chunked"
        async for part in body:
            if part:
                await self._wire.send(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
        if is_chunked:
            await self._wire.send(b"0\r\n\r\n")


class _Body(httpx.AsyncByteStream):
    """An answer's body, an item a read.  Read to its end the connection is kept, else it is closed."""

    def __init__(self, pool: Pool, connection: Connection, exchange: _Exchange) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._exchange = exchange
        self._fault: httpx.TransportError | None = None

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        parser = self._exchange.parser
        while not (data := parser.body()):
            if self._fault is not None:
                raise self._fault
            if parser.is_complete:
                await self.aclose()
                raise StopAsyncIteration
            try:
                await self._exchange.read()
            except httpx.TransportError as fault:
                # What came before the fault in the same read is given out first.
                self._fault = fault
        return data

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._exchange.parser.is_reusable and self._fault is None:
            await self._pool.release(connection)
        else:
            await self._pool.discard(connection)


async def _tunnel(stream: trio.abc.Stream, host: str, port: int, proxy: Proxy) -> None:
    """Has the proxy connect through to the host.  Raises ProtocolError, OSError."""
    place = b"[%b]:%d" % (host.encode(), port) if ":" in host else b"%b:%d" % (host.encode(), port)
    headers = [(b"Host", place)]
    if proxy.authorization is not None:
        headers.append((b"Proxy-Authorization", proxy.authorization))
    try:
        await stream.send_all(request_head(b"CONNECT", place, headers))
        parser = ResponseParser(b"HEAD")  # like the answer to HEAD, this one has no body of its own
        while not parser.has_head:
            data = bytes(await stream.receive_some(65536))
            if data:
                parser.receive_data(data)
            else:
                parser.receive_eof()
        if not 200 <= parser.status < 300:
            raise ProtocolError(f"the proxy refused the connection: {parser.status}")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


def _bytes_of(request: httpx.Request) -> bytes | None:
    """The body, if it is there as a whole and can be sent again."""
    try:
        return request.content
    except httpx.RequestNotRead:
        return None


def _key(url: httpx.URL, proxy: Proxy | None) -> Key:
    host, port = _place(url)
    return url.scheme, host, port, "" if proxy is None else f"{proxy.host}:{proxy.port}"


def _place(url: httpx.URL) -> tuple[str, int]:
    return url.host, url.port or (443 if url.scheme == "https" else 80)


def _seconds(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _reason(fault: BaseException) -> str:
    """What went wrong, of the innermost fault: trio wraps those of TLS and sockets."""
    while fault.__cause__ is not None:
        fault = fault.__cause__
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
