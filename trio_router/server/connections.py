"""Clients' connections: HTTP/1.1 here, HTTP/2 in `http2_connection`.

Hypercorn's HTTP/1.1 (h11, a lock and a shielded scope for each write, a task for each idle connection)
cost more than the rest of a request, and its HTTP/2 has no backpressure.  Its configuration stays in
use.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from trio_router.api.request import ClientRequest
from trio_router.server.http1_link import Http1Link, refusal
from trio_router.server.http2 import PREFACE
from trio_router.server.http2_connection import Http2Connection
from trio_router.server.request_body import UNASKED
from trio_router.server.request_parser import RequestParser
from trio_router.server.seats import Seats, connection_limit, current_seat, descriptor_limit
from trio_router.transport.sockets import BROKEN, SocketWire, Wire, stream_over, wire_over

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config as HypercornConfig

    from trio_router.api.request import App
    from trio_router.clock.alarms import Alarm
    from trio_router.server.request_body import RequestBody
    from trio_router.server.request_parser import RequestHead

logger = logging.getLogger("trio_router")
_AHEAD = 8  # pipelined requests that may wait; the connection closes after the last of them
_LINGER = 1.0  # s of silence that a client gets to read the last answer before we close
_LONGEST_LINGER = 30.0  # s that it may go on sending before it reads that answer
_WHOLE_HEAD = 30.0  # s that a request's head may take, and a new connection until its first byte
_REFUSED = 1.0  # s that a client gets to send the request that is refused for lack of a seat
_MOST_REFUSED = 32  # connections that wait for their refusal at one time


class HttpServer:
    """Serves `app` on the connections it is given.  `stall` is in seconds; None: no limit.

    With `tls` connections are encrypted, and HTTP/2 is offered.
    """

    def __init__(
        self,
        app: App,
        settings: HypercornConfig,
        stall: float | None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.app = app
        self.keep_alive = settings.keep_alive_timeout
        self.use(stall, tls)
        self.whole_head = _WHOLE_HEAD  # s that a request's head may take
        self.is_ending = False
        self.open = 0  # open connections of all protocols
        configured = app.router.generation.config.server.max_connections
        self.seats = Seats(connection_limit(configured, descriptor_limit()))
        self._refused = 0  # connections that wait for their refusal
        # In the order in which they came.
        self.connections: dict[Http1Connection | Http2Connection, None] = {}
        self._handshake = min(settings.ssl_handshake_timeout, _WHOLE_HEAD)

    def use(self, stall: float | None, tls: ssl.SSLContext | None) -> None:
        """Sets `stall` for every connection from now on, and `tls` for new ones."""
        self.stall = math.inf if stall is None else stall
        self.scheme = "http" if tls is None else "https"
        self._tls = tls

    def limit_connections(self, configured: int | None) -> None:
        """From now on so many may be open; those that are open stay."""
        self.seats.limit = connection_limit(configured, descriptor_limit())

    async def handle(self, accepted: socket.socket | Wire) -> None:
        """Serves a connection to its end, and closes it."""
        seat = self.seats.take(accepted)
        if seat is None:
            if isinstance(accepted, Wire):
                accepted.close()
            else:
                await self._refuse_one_too_many(accepted)
            return
        current_seat.set(seat)
        self.open += 1
        try:
            if isinstance(accepted, Wire):
                await self._handle_wire(accepted)
                return
            with accepted:
                if self._tls is not None:
                    await self._handle_tls(accepted, self._tls)
                else:
                    await self._handle_plain(accepted)
        except Exception:  # one connection's fault is not the others'
            logger.exception("a connection failed")
        finally:
            self.open -= 1
            self.seats.leave(seat)

    async def _refuse_one_too_many(self, sock: socket.socket) -> None:
        """Refuses a connection: every seat is taken by a request that is being answered."""
        with sock, suppress(*BROKEN):
            if self._tls is not None or self._refused >= _MOST_REFUSED:
                return  # a TLS handshake for a refusal would cost more than a seat
            self._refused += 1
            try:
                with trio.move_on_after(_REFUSED):
                    await SocketWire(sock).receive()
                sock.send(refusal(503))
            finally:
                self._refused -= 1

    async def _handle_wire(self, wire: Wire) -> None:
        """A connection of a network that is no kernel's, as from a loopback address: HTTP/1.1."""
        try:
            first = await self._first(wire)
            if first:
                await self.handle_http1(wire, "127.0.0.1", first)
        finally:
            wire.close()

    async def _handle_plain(self, sock: socket.socket) -> None:
        host, client = _ends(sock)
        wire = SocketWire(sock)
        first = await self._first(wire)
        if first.startswith(PREFACE):
            await Http2Connection(self, wire, host, client).run(first)
        elif first:
            await self.handle_http1(wire, host, first, client)

    async def handle_http1(
        self, wire: Wire, host: str | None, first: bytes, client: tuple[str, int] | None = None
    ) -> None:
        """`host` is the address that the connection came in on, `client` where it comes from."""
        await Http1Connection(self, wire, host, client).run(first)

    async def _handle_tls(self, sock: socket.socket, tls: ssl.SSLContext) -> None:
        host, client = _ends(sock)
        # https_compatible: like clients, we close without TLS's close_notify.
        stream = trio.SSLStream(stream_over(sock), tls, server_side=True, https_compatible=True)
        with trio.move_on_after(self._handshake) as limit:
            try:
                await stream.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        if limit.cancelled_caught:
            return
        wire = wire_over(stream)
        first = await self._first(wire)
        if first and stream.selected_alpn_protocol() == "h2":
            await Http2Connection(self, wire, host, client).run(first)
        elif first:
            await self.handle_http1(wire, host, first, client)

    async def _first(self, wire: Wire) -> bytes:
        """The first bytes from the client, enough to tell the protocol.

        Empty if they do not come in time, or the client leaves.
        """
        first = b""
        with trio.move_on_after(_WHOLE_HEAD), suppress(*BROKEN):
            while True:
                more = await wire.receive()
                first += more
                if not more or len(first) >= len(PREFACE) or not PREFACE.startswith(first):
                    return first if more else b""
        return b""

    async def end(self) -> None:
        """Closes idle connections at once, and the others after their answer."""
        self.is_ending = True
        for connection in list(self.connections):
            connection.close_if_idle()


class Http1Connection:
    """A client's connection: one task reads, another answers one request after another.

    So a client that leaves is noticed at once, whatever its request is waiting for.
    """

    def __init__(
        self,
        server: HttpServer,
        wire: Wire,
        host: str | None,
        client: tuple[str, int] | None = None,
    ) -> None:
        self.server = server
        self.wire = wire
        self.host = host
        self.client = client
        self.scheme = server.scheme
        self._parser = RequestParser(self._begin)
        self._waiting: list[Http1Link] = []
        self._latest: RequestBody | None = None  # the body that is read now, or was read last
        self._current: ClientRequest | None = None
        self._is_closing = False
        self._ahead = 0  # bytes read while requests wait for their turn
        self._none_waits: trio.Event | None = None
        self._is_head_timed = False
        self._heard = 0  # reads that returned data
        self._has_ended = False  # the client has closed its sending side
        self._lingering: trio.CancelScope | None = None
        self._idle: Alarm = server.app.router.engine.alarms.alarm(self._late)

    async def run(self, first: bytes) -> None:
        self.server.connections[self] = None
        try:
            async with trio.open_nursery() as self._nursery:
                self._rest()
                await self._read(first)
                self._has_ended = True
                if self._lingering is not None:
                    self._lingering.cancel()
                if self._current is not None:
                    self._current.client_left()
                self._forget_waiting()
        finally:
            self.server.connections.pop(self, None)
            self._idle.stop()
            self._parser.end()
            self.wire.close()

    def close_if_idle(self) -> None:
        if self._current is None:
            self.wire.close()

    def _late(self) -> None:
        """No request has come for too long."""
        if self._current is None and self._parser.is_in_head and not self._is_closing:
            self._is_closing = True
            self._nursery.start_soon(self._refuse, 408)
        else:
            self.close_if_idle()

    # -- the reading task

    async def _read(self, data: bytes) -> None:
        while data:
            if not self._is_closing:
                self._parser.receive_data(data)
                self._go_on()
                if self._current is None and self._parser.is_in_head and not self._is_head_timed:
                    self._rest()
            if self._waiting:
                self._ahead += len(data)
                if self._ahead >= UNASKED:
                    await self._wait_while_watching(self._wait_turns)
            elif self._latest is not None and self._latest.is_full:
                await self._wait_while_watching(self._latest.wait_room)
            self._heard += 1
            try:
                # At most UNASKED bytes are read of requests that still wait for their turn.
                data = await self.wire.receive(UNASKED - self._ahead)
            except BROKEN:
                return

    def _begin(self, head: RequestHead) -> RequestBody | None:
        if len(self._waiting) >= _AHEAD:
            # Stopping to read would hide that the client leaves, so later requests get no answer.
            self._waiting[-1].keep_alive = False
            return None
        declared = head.header(b"content-length")
        body = self.server.app.new_body(head.path, int(declared) if declared.isdigit() else None)
        self._latest = body
        self._waiting.append(Http1Link(self, head, body))
        return body

    async def _wait_while_watching(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Reads nothing until `wait` is done, but still notices a client that leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_hangup, nursery.cancel_scope)
            await wait()
            nursery.cancel_scope.cancel()

    async def _watch_hangup(self, waiting: trio.CancelScope) -> None:
        with suppress(*BROKEN):
            await self.wire.wait_hangup()
        self.wire.close()
        waiting.cancel()

    async def _wait_turns(self) -> None:
        """Waits until every request that was read has had its turn, or never will."""
        self._none_waits = trio.Event()
        await self._none_waits.wait()
        self._none_waits = None

    def _note_turns(self) -> None:
        """Called when the number of waiting requests has dropped."""
        if not self._waiting:
            self._ahead = 0
            if self._none_waits is not None:
                self._none_waits.set()

    def _forget_waiting(self) -> None:
        """Drops the requests that still wait for their turn."""
        self._waiting.clear()
        self._note_turns()

    def _go_on(self) -> None:
        """Begins the next request, if one waits and none is being answered."""
        if self._current is not None or self._is_closing:
            return
        if self._waiting:
            link = self._waiting.pop(0)
            self._note_turns()
            self._idle.when = math.inf
            self._is_head_timed = False
            self._current = ClientRequest(self.server.app, link)
            self._nursery.start_soon(self._answer, self._current, link)
        elif self._parser.fault is not None:
            self._is_closing = True
            self._nursery.start_soon(self._refuse, self._parser.fault)
        elif self.server.is_ending:
            self.wire.close()

    # -- the answering task

    async def _answer(self, request: ClientRequest, link: Http1Link) -> None:
        try:
            await request.run()
        except Exception:
            logger.exception("a request failed")
        self._current = None
        if not link.is_finished:
            self._forget_waiting()
            self.wire.close()  # the answer broke off: nothing more can be sent here
        elif not link.keep_alive:
            await self._close_gently(is_read=link.body.is_complete)
        else:
            self._rest()
            self._go_on()

    def _rest(self) -> None:
        self._is_head_timed = self._parser.is_in_head
        patience = _WHOLE_HEAD if self._is_head_timed else self.server.keep_alive
        self._idle.set(trio.current_time() + patience)

    async def _refuse(self, status: int) -> None:
        try:
            await self.wire.send_patiently(refusal(status), self.server.stall)
        except (*BROKEN, trio.TooSlowError):
            pass
        await self._close_gently(is_read=False)

    async def _close_gently(self, *, is_read: bool) -> None:
        """Closes after the client could read the answer: closing while it sends would discard that.

        `is_read` says that nothing from the client is on its way.  Then a connection that cannot close
        its sending side alone (TLS) is closed at once.
        """
        self._is_closing = True
        self._forget_waiting()
        with suppress(*BROKEN):
            await self.wire.send_eof()
            if not self._has_ended and (self.wire.can_half_close or not is_read):
                await self._linger()
        self.wire.close()

    async def _linger(self) -> None:
        """Waits until the reading task has seen the client's end, or receives nothing more."""
        with trio.move_on_after(_LONGEST_LINGER) as self._lingering:
            heard = -1
            while heard != self._heard:
                heard = self._heard
                await trio.sleep(_LINGER)


def _ends(sock: socket.socket) -> tuple[str | None, tuple[str, int] | None]:
    """The addresses of the connection: our end's host, and the client's."""
    try:
        ours, theirs = sock.getsockname(), sock.getpeername()
    except OSError:
        return None, None  # the client has left already
    if not isinstance(ours, tuple):
        return None, None
    return ours[0], theirs[:2]
