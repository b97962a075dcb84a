"""A client's HTTP/2 connection: one task reads, and one task for each request answers.

Data is sent at once, as far as the socket takes it.  A task of the connection's own sends the rest,
because a cancelled request must not leave half a frame behind.  While that task is busy no stream adds
data, so that what waits is bounded.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

from trio_router.server.http2 import MAX_STREAMS, Http2Protocol
from trio_router.server.http2_head import are_trailers, is_too_large, request_head
from trio_router.server.http2_link import Http2Link
from trio_router.transport.sockets import BROKEN

if TYPE_CHECKING:
    from h2.events import Event

    from trio_router.clock.alarms import Alarm
    from trio_router.server.link import Answering
    from trio_router.server.service import Service
    from trio_router.transport.sockets import Wire

logger = logging.getLogger("trio_router")
_SLICE = 8192  # bytes that are parsed before other tasks get their turn, if they hold many events
_MUCH = 50  # this many events
_UNSENT = 65536  # bytes that wait to be sent, beyond which nothing is read
_LIVE = 2 * MAX_STREAMS  # requests that have not ended, including those that the client has reset
_LINGER = 1.0  # s that a client gets to read why its connection ends


class Http2Connection:
    """Serves the connection on `wire`.

    `host` is the address that it came in on, `client` the address it comes from.
    """

    def __init__(
        self, server: Service, wire: Wire, host: str | None, client: tuple[str, int] | None
    ) -> None:
        self.server = server
        self.wire = wire
        self.host = host
        self.client = client
        self.protocol = Http2Protocol()
        self.is_stalled = False  # the client takes nothing on the whole connection
        self.moved_at = -math.inf  # when the client was last seen to take something
        self.waiting: dict[Http2Link, None] = {}  # streams that wait for room, the longest first
        self._streams: dict[int, tuple[Http2Link, Answering]] = {}
        self._unsent = bytearray()
        self._is_sending = False
        self._has_sender = False
        self._work: trio.Event | None = None  # wakes the sender when it is idle
        self._sent: trio.Event | None = None
        self._is_lost = False  # nothing more can be sent
        self._is_leaving = False  # no more requests are accepted
        self._has_asked = False  # a request's head has come
        self._idle: Alarm = server.alarms.alarm(self.close_if_idle)

    async def run(self, first: bytes) -> None:
        """Serves the connection to its end; `first` is what was read of it already."""
        self.server.connections[self] = None
        try:
            async with trio.open_nursery() as self._nursery:
                self._rest()
                await self._read(first)
                self._end_streams()
                if self.protocol.is_broken:
                    await self._linger()
                self._lose()
        finally:
            self.server.connections.pop(self, None)
            self._idle.stop()
            self.protocol.close()
            self.wire.close()
            del self._nursery

    def close_if_idle(self) -> None:
        """Ends the connection if no request is being answered.  A server that ends takes no more."""
        if self._streams and not self.server.is_ending:
            return
        self._is_leaving = True
        self.protocol.goodbye()
        self.flush()
        self._close_when_sent()

    # -- the reading task

    async def _read(self, data: bytes) -> None:
        while data:
            for start in range(0, len(data), _SLICE):
                events = self.protocol.receive_data(data[start : start + _SLICE], trio.current_time())
                for event in events:
                    self._handle(event)
                self.flush()
                if len(events) > _MUCH:
                    await trio.lowlevel.checkpoint()
            if self.protocol.is_broken:
                return
            if len(self._unsent) > _UNSENT:
                await self._wait_sent()
            try:
                data = await self.wire.receive()
            except BROKEN:
                return

    def _handle(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._take(event)
        elif isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, StreamEnded):
            if entry := self._streams.get(event.stream_id):
                entry[0].body.end()
        elif isinstance(event, StreamReset):
            if entry := self._streams.get(event.stream_id):
                self._leave(*entry)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            if isinstance(event, WindowUpdated) and not event.stream_id:
                self.moved_at = trio.current_time()
            self.let_go_on()
        elif isinstance(event, TrailersReceived):
            if not are_trailers(event.headers or ()):
                self.protocol.reset(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
                if entry := self._streams.get(event.stream_id):
                    self._leave(*entry)
        elif isinstance(event, ConnectionTerminated):
            self._is_leaving = True
            if event.error_code != ErrorCodes.NO_ERROR or not self._streams:
                self.wire.close()

    def _take(self, event: DataReceived) -> None:
        size = event.flow_controlled_length or 0
        self.protocol.took(size)
        if entry := self._streams.get(event.stream_id):
            entry[0].feed(event.data or b"", size)

    def _begin(self, event: RequestReceived) -> None:
        number = event.stream_id
        fields = event.headers or []
        head = request_head(fields)
        if head is None:
            self.protocol.reset(number, ErrorCodes.PROTOCOL_ERROR)
            return
        if self._is_leaving or len(self._streams) >= _LIVE:
            self.protocol.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        self._has_asked = True
        declared = head.header(b"content-length")
        app = self.server.app
        body = app.new_body(head.path, int(declared) if declared.isdigit() else None)
        link = Http2Link(self, number, head, body)
        if is_too_large(fields):
            link.refuse(431, "the request's head is too large")
            return
        if event.stream_ended is None:
            link.expect_body()
        request = app.request(link)
        self._streams[number] = link, request
        self._idle.when = math.inf
        self._nursery.start_soon(self._answer, request, link)

    def _leave(self, link: Http2Link, request: Answering) -> None:
        link.is_gone = True
        request.client_left()

    def _end_streams(self) -> None:
        for link, request in list(self._streams.values()):
            if self.is_stalled and link in self.waiting:
                continue  # it ended as stalled; that is not a client that left
            self._leave(link, request)

    async def _linger(self) -> None:
        """Gives the client time to read its error; closing at once would discard it."""
        with trio.move_on_after(_LINGER), suppress(*BROKEN):
            await self._wait_sent()
            if self.wire.can_half_close:  # otherwise both sides would wait for the other's end
                await self.wire.send_eof()
                while await self.wire.receive():
                    pass

    async def _wait_sent(self) -> None:
        if self._is_sending and not self._is_lost:
            self._sent = trio.Event()
            await self._sent.wait()

    # -- the answering tasks

    async def _answer(self, request: Answering, link: Http2Link) -> None:
        try:
            await request.run()
        except Exception:
            logger.exception("a request failed")
        finally:
            link.close()
            del self._streams[link.number]
            self.flush()
        if not self._streams:
            self._rest()

    def _rest(self) -> None:
        if self._is_leaving or self.server.is_ending:
            self.close_if_idle()
        else:
            patience = self.server.keep_alive if self._has_asked else self.server.whole_head
            self._idle.set(trio.current_time() + patience)

    # -- what goes out

    @property
    def is_clear(self) -> bool:
        """Whether the socket has taken everything."""
        return not self._is_sending

    def flush(self) -> None:
        """Sends what is ready; the sender's task sends what the socket does not take."""
        data = self.protocol.data_to_send()
        if not data or self._is_lost:
            return
        if not self._is_sending:
            try:
                sent = self.wire.send_some(data)
            except BROKEN:
                self._is_lost = True  # the reading task will notice
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._is_sending = True
        self._unsent += data
        if not self._has_sender:
            self._has_sender = True
            self._nursery.start_soon(self._send)
        elif self._work is not None:
            self._work.set()

    async def _send(self) -> None:
        try:
            while not self._is_lost:
                while self._unsent:
                    data, self._unsent = self._unsent, bytearray()
                    stall = self.server.stall
                    await self.wire.send_patiently(memoryview(data), stall, self._moved)
                self._is_sending = False
                self._tell_sent()
                self._close_when_sent()
                self.let_go_on()
                self._work = trio.Event()
                await self._work.wait()
                self._work = None
        except BROKEN:
            pass  # the reading task notices
        except trio.TooSlowError:
            self.is_stalled = True
            for link in list(self.waiting):
                link.go_on()
            self.wire.close()
        finally:
            self._is_lost = True
            self._tell_sent()

    def _moved(self) -> None:
        """The client has taken something: no stream that waits is stalled, if its window is open."""
        self.moved_at = trio.current_time()
        for link in self.waiting:
            if not self.protocol.is_held_back(link.number):
                link.on_moved()

    def _tell_sent(self) -> None:
        if self._sent is not None:
            self._sent.set()
            self._sent = None

    def _lose(self) -> None:
        """Ends the sender: nothing more can be sent."""
        self._is_lost = True
        self.wire.close()
        if self._work is not None:
            self._work.set()

    def _close_when_sent(self) -> None:
        if self._is_leaving and not self._streams and not self._is_sending:
            self.wire.close()

    def let_go_on(self) -> None:
        """Wakes the stream with room that has waited longest; that one will wake the next."""
        if not self.waiting or self._is_sending:
            return
        for link in self.waiting:
            if not link.has_data or self.protocol.room(link.number) > 0:
                link.go_on()
                return
