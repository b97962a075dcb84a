"""Clients' connections: which protocol each one speaks, and how many there may be.

Hypercorn's HTTP/1.1 (h11, a lock and a shielded scope for each write, a task for each idle connection)
cost more than the rest of a request, and its HTTP/2 has no backpressure.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from trio_router.server.http1_connection import Http1Connection
from trio_router.server.http1_link import refusal
from trio_router.server.http2 import PREFACE
from trio_router.server.http2_connection import Http2Connection
from trio_router.server.seats import Seats, connection_limit, current_seat, descriptor_limit
from trio_router.server.service import WHOLE_HEAD, Service
from trio_router.transport.sockets import BROKEN, SocketWire, Wire, stream_over, wire_over
from trio_router.wire.causes import free_causes

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from trio_router.clock.alarms import AlarmClock
    from trio_router.server.link import App

logger = logging.getLogger("trio_router")
_REFUSED = 1.0  # s that a client gets to send the request that is refused for lack of a seat
_MOST_REFUSED = 32  # connections that wait for their refusal at one time


class HttpServer(Service):
    """Serves `app` on the connections it is given.  `stall` is in seconds; None: no limit.

    With `tls` connections are encrypted, and HTTP/2 is offered.
    """

    def __init__(
        self,
        app: App,
        alarms: AlarmClock,
        wall: Callable[[], float],
        *,
        max_connections: int | None = None,
        stall: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(app, alarms, wall, stall)
        self.open = 0  # open connections of all protocols
        self.seats = Seats(connection_limit(max_connections, descriptor_limit()))
        self._refused = 0  # connections that wait for their refusal
        self.use(stall, tls)

    def use(self, stall: float | None, tls: ssl.SSLContext | None) -> None:
        """Sets `stall` for every connection from now on, and `tls` for new ones."""
        self.stall = math.inf if stall is None else stall
        self.scheme = "http" if tls is None else "https"
        self._tls = tls

    def limit_connections(self, configured: int | None) -> None:
        """Sets how many connections may be open; those that are open stay."""
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
                sock.send(refusal(503, self.wall()))
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
        with trio.move_on_after(WHOLE_HEAD) as limit:
            try:
                await stream.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as fault:
                free_causes(fault)
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
        with trio.move_on_after(WHOLE_HEAD), suppress(*BROKEN):
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


def _ends(sock: socket.socket) -> tuple[str | None, tuple[str, int] | None]:
    """The addresses of the connection: our end's host, and the client's."""
    try:
        ours, theirs = sock.getsockname(), sock.getpeername()
    except OSError:
        return None, None  # the client has left already
    if not isinstance(ours, tuple):
        return None, None
    return ours[0], theirs[:2]
