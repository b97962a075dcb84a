"""Clients' connections: HTTP/1.1 here, HTTP/2 in `http2_connection`.

Hypercorn's HTTP/1.1 (h11, a lock and a shielded scope a write, a task for each idle connection) cost
more than all the rest of a request; its HTTP/2 takes whatever an answer gives it, and never holds back.
Its configuration and its lifespan stay in use.
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
_AHEAD = 8  # requests that a client may have sent ahead of its answers; the last of them closes
_LINGER = 1.0  # s of silence in which a client may take the last answer of a connection that we close
_LONGEST_LINGER = 30.0  # s in which it may go on sending before it reads that answer
_WHOLE_HEAD = 30.0  # s that a request's head may take, and a new connection until its first byte
_REFUSED = 1.0  # s in which a client for whom there is no place may send what it gets its refusal for
_MOST_REFUSED = 32  # who wait for that at once


class HttpServer:
    """Serves `app` on the connections it is given.  `stall` is in seconds; None is no limit.

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
        self.whole_head = _WHOLE_HEAD  # s in which a request's head has to come
        self.is_ending = False
        self.open = 0  # connections, whatever they speak
        configured = app.router.generation.config.server.max_connections
        self.seats = Seats(connection_limit(configured, descriptor_limit()))
        self._refused = 0  # connections that wait for their refusal
        self.connections: set[Http1Connection | Http2Connection] = set()
        self._handshake = min(settings.ssl_handshake_timeout, _WHOLE_HEAD)

    def use(self, stall: float | None, tls: ssl.SSLContext | None) -> None:
        """From now on these hold: `stall` for every connection, `tls` for new ones."""
        self.stall = math.inf if stall is None else stall
        self.scheme = "http" if tls is None else "https"
        self._tls = tls

    def limit_connections(self, configured: int | None) -> None:
        """From now on so many may be open; those that are open stay."""
        self.seats.limit = connection_limit(configured, descriptor_limit())

    async def handle(self, sock: socket.socket) -> None:
        """Serves a connection to its end; closes it."""
        seat = self.seats.take(sock)
        if seat is None:
            await self._refuse_one_too_many(sock)
            return
        current_seat.set(seat)
        self.open += 1
        try:
            with sock:
                if self._tls is not None:
                    await self._handle_tls(sock, self._tls)
                else:
                    await self._handle_plain(sock)
        except Exception:  # one connection's fault is not the others'
            logger.exception("a connection failed")
        finally:
            self.open -= 1
            self.seats.leave(seat)

    async def _refuse_one_too_many(self, sock: socket.socket) -> None:
        """Every place is taken by a request that is being answered."""
        with sock, suppress(*BROKEN):
            if self._tls is not None or self._refused >= _MOST_REFUSED:
                return  # a handshake only to say no would cost more than a place
            self._refused += 1
            try:
                with trio.move_on_after(_REFUSED):
                    await SocketWire(sock).receive()
                sock.send(refusal(503))
            finally:
                self._refused -= 1

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
        # https_compatible: clients close without the TLS goodbye, and so do we.
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
        """What the client says first, enough to tell which protocol it is.

        Nothing if it does not say so in time, or leaves.
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
        """Closes idle connections; the others are closed when their answer is out."""
        self.is_ending = True
        for connection in list(self.connections):
            connection.close_if_idle()


class Http1Connection:
    """A client's connection: one task reads, another answers the request that is at its turn.

    So a client's leaving is seen at once, whatever its request is waiting for.
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
        self._latest: RequestBody | None = None  # the one that is being read, or was last
        self._current: ClientRequest | None = None
        self._is_closing = False
        self._ahead = 0  # bytes read since there are requests whose turn has not come
        self._none_waits: trio.Event | None = None
        self._is_head_timed = False
        self._heard = 0  # reads that gave something
        self._has_ended = False  # the client, that is
        self._lingering: trio.CancelScope | None = None
        self._idle: Alarm = server.app.router.engine.alarms.alarm(self._late)

    async def run(self, first: bytes) -> None:
        self.server.connections.add(self)
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
            self.server.connections.discard(self)
            self._idle.stop()
            self._parser.end()
            self.wire.close()

    def close_if_idle(self) -> None:
        if self._current is None:
            self.wire.close()

    def _late(self) -> None:
        """Nothing was asked for too long."""
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
                # Of requests whose turn has not come no more than UNASKED bytes are read.
                data = await self.wire.receive(UNASKED - self._ahead)
            except BROKEN:
                return

    def _begin(self, head: RequestHead) -> RequestBody | None:
        if len(self._waiting) >= _AHEAD:
            # Reading no further would hide the client's leaving; so what follows is not answered.
            self._waiting[-1].keep_alive = False
            return None
        declared = head.header(b"content-length")
        body = self.server.app.new_body(head.path, int(declared) if declared.isdigit() else None)
        self._latest = body
        self._waiting.append(Http1Link(self, head, body))
        return body

    async def _wait_while_watching(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Nothing is read until `wait` is done; but a client that leaves is seen all the same."""
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
        """Until every request that was read is at its turn, or will have none."""
        self._none_waits = trio.Event()
        await self._none_waits.wait()
        self._none_waits = None

    def _note_turns(self) -> None:
        """After fewer wait than before."""
        if not self._waiting:
            self._ahead = 0
            if self._none_waits is not None:
                self._none_waits.set()

    def _forget_waiting(self) -> None:
        """Those whose turn has not come will not be answered."""
        self._waiting.clear()
        self._note_turns()

    def _go_on(self) -> None:
        """Begins the next request, if there is one and none is being answered."""
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
            self.wire.close()  # torn in the middle: nothing more can be said here
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
        """Closing at once would take from the client what it has not read yet, if it still sends.

        `is_read` says that nothing is known to be on its way.  Then a client that cannot be told the
        end otherwise (over TLS) is not kept waiting for it.
        """
        self._is_closing = True
        self._forget_waiting()
        with suppress(*BROKEN):
            await self.wire.send_eof()
            if not self._has_ended and (self.wire.can_half_close or not is_read):
                await self._linger()
        self.wire.close()

    async def _linger(self) -> None:
        """Until the reading task has seen the client's end, or hears nothing more."""
        with trio.move_on_after(_LONGEST_LINGER) as self._lingering:
            heard = -1
            while heard != self._heard:
                heard = self._heard
                await trio.sleep(_LINGER)


def _ends(sock: socket.socket) -> tuple[str | None, tuple[str, int] | None]:
    """The address that the connection came in on, and where it comes from."""
    try:
        ours, theirs = sock.getsockname(), sock.getpeername()
    except OSError:
        return None, None  # the client has left already
    if not isinstance(ours, tuple):
        return None, None
    return ours[0], theirs[:2]
