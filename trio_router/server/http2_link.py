"""One HTTP/2 request on a client's connection: flow control of its body, writing of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio
from h2.errors import ErrorCodes

from trio_router.errors import ClientStalled, InvalidRequest
from trio_router.server.arrived import ArrivedRequest, Carrier
from trio_router.server.http1_link import BODILESS, date_at
from trio_router.server.http2 import AT_ONCE, MORE, STEP
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.written import Written, unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.server.http2 import Http2Protocol
    from trio_router.server.link import Headers
    from trio_router.server.request_body import RequestBody
    from trio_router.server.request_parser import RequestHead

_OF_HTTP1 = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})


class Http2Carrier(Carrier, Protocol):
    """The connection that a request came in on, as its link sees it."""

    protocol: Http2Protocol
    is_stalled: bool  # the client takes nothing of what was sent on the connection
    moved_at: float  # when the client last took something, in the event loop's time
    waiting: dict[Http2Link, None]  # for room; who waits longest comes first

    @property
    def is_clear(self) -> bool:
        """Whether the socket has taken everything."""
        ...

    def flush(self) -> None:
        """Sends what is ready."""
        ...

    def let_go_on(self) -> None:
        """Wakes the stream with room that has waited longest."""
        ...


class Http2Link(ArrivedRequest[Http2Carrier]):
    """See `Link`.  The head waits until something follows it.

    Until an endpoint asks for the body, at most the first window of it comes in.  A streamed body comes
    in only as fast as its reader takes it.
    """

    def __init__(
        self, connection: Http2Carrier, number: int, head: RequestHead, body: RequestBody
    ) -> None:
        super().__init__(connection, head, body)
        self._protocol = connection.protocol
        self.number = number
        self.on_moved: Callable[[], None] = unheard
        self.is_finished = False
        self.is_gone = False  # the client has reset the stream or left
        self.has_data = False  # data waits for room, not just the answer's head or its end
        self._held: tuple[int, Headers] | None = None
        self._is_bodiless = False
        self._is_writing = False
        self._may_go_on: trio.Event | None = None
        self._expects = head.header(b"expect").lower() == b"100-continue"
        self._is_wanted = False
        self._owed = 0  # bytes taken that are not yet given back to the stream's window

    @property
    def may_wait_for_body(self) -> bool:
        return not self._expects and self.method != "CONNECT"

    @property
    def offer(self) -> None:
        return None  # RFC 8441 is not offered

    # -- the request's body

    def expect_body(self) -> None:
        """There is a body: its window is given back when an endpoint wants it, and as it is taken."""
        self.body.on_wanted = self._invite
        self.body.on_taken = self._hand_back

    def feed(self, data: bytes, size: int) -> None:
        """`data` has come.  With its padding it took `size` bytes of the window."""
        if data:
            self.body.feed(data)
        self._owed += size
        if self._owed >= STEP:
            self._hand_back()

    async def _invite(self) -> None:
        self._is_wanted = True
        if self.is_gone:
            return
        if self._expects:  # the client waits for 100 Continue before its body (RFC 9110, 10.1.1)
            self._expects = False
            self._protocol.send_head(self.number, 100, [])
        declared = self.body.declared
        if declared is None or declared > STEP:
            self._owed += MORE
        self._hand_back()
        self._connection.flush()

    def _hand_back(self) -> None:
        body = self.body
        if self._owed < STEP or self.is_finished or self.is_gone or body.is_complete:
            return
        if body.is_unwanted or (self._is_wanted and not body.is_full):
            self._protocol.give_back(self.number, self._owed)
            self._owed = 0
            self._connection.flush()

    # -- the answer

    async def start(self, status: int, headers: Headers) -> None:
        self._is_bodiless = self.method == "HEAD" or status in BODILESS
        fields = [(name.lower(), value) for name, value in headers if name.lower() not in _OF_HTTP1]
        fields.append((b"date", date_at(self._connection.server.wall())))
        self._held = status, fields
        self._free_headers()

    async def write(self, data: bytes) -> None:
        await self._send(data, is_end=False)

    def write_now(self, data: bytes) -> Written:
        if self.is_gone:
            return Written.ALL  # the reading task has told
        connection = self._connection
        if self._is_writing or not connection.is_clear or self._is_bodiless:
            return Written.NONE
        if len(data) > self._protocol.room(self.number):
            return Written.NONE
        self._put(data, is_end=False)
        connection.flush()
        return Written.ALL

    async def finish(self, data: bytes = b"") -> None:
        await self._send(data, is_end=True)

    async def tear(self) -> None:
        self._protocol.reset(self.number, ErrorCodes.INTERNAL_ERROR)
        self._connection.flush()

    def refuse(self, status: int, message: str) -> None:
        """Answers a request that is refused here; the body is sent only if there is room."""
        body = dumps(InvalidRequest(message).body())
        fields = [
            (b"content-type", b"application/json"),
            (b"date", date_at(self._connection.server.wall())),
        ]
        self._held = status, fields
        self._put(body if self._protocol.room(self.number) >= len(body) else b"", is_end=True)
        self.close()

    def close(self) -> None:
        """The request has ended: resets the stream if the client does not know yet."""
        self.body.on_wanted = self.body.on_taken = None
        # The answer was complete before its request (RFC 9113, 8.1), or it broke off.
        code = ErrorCodes.NO_ERROR if self.is_finished else ErrorCodes.CANCEL
        self._protocol.reset(self.number, code)

    def go_on(self) -> None:
        """Wakes the task that waits for room, if there is one."""
        if self._may_go_on is not None:
            self._may_go_on.set()

    async def _send(self, data: bytes, *, is_end: bool) -> None:
        rest = memoryview(b"" if self._is_bodiless else data)
        connection = self._connection
        self._is_writing = True
        since: float | None = None  # when the client last took something, if we wait for it
        try:
            while not self.is_gone:
                room = self._protocol.room(self.number) if rest else 0
                if not connection.is_clear or (rest and room <= 0 and self._held is None):
                    since = since or trio.current_time()
                    self.has_data = bool(rest)
                    await self._wait(since)
                    continue
                size = min(len(rest), max(room, 0), AT_ONCE)
                self._put(rest[:size], is_end=is_end and size == len(rest))
                connection.flush()
                if size == len(rest):
                    return
                if size:
                    rest, since = rest[size:], None
                    self.on_moved()
                    connection.let_go_on()
                    await trio.lowlevel.checkpoint()
        finally:
            self._is_writing = False
            connection.let_go_on()

    def _put(self, data: bytes | memoryview, *, is_end: bool) -> None:
        if is_end:
            self.is_finished = True
        if self._held is not None:
            (status, fields), self._held = self._held, None
            is_all = is_end and not data
            self._protocol.send_head(self.number, status, fields, is_end=is_all)
            if is_all:
                return
        if data or is_end:
            self._protocol.send_data(self.number, data, is_end=is_end)

    async def _wait(self, since: float) -> None:
        """Until more may go out.  Raises ClientStalled if the client takes nothing for too long.

        If this stream's own window is not used up, a client that takes anything on the connection is
        not stalled: other streams had their turn.
        """
        connection = self._connection
        self._may_go_on = trio.Event()
        connection.waiting[self] = None
        try:
            while not connection.is_stalled:
                if not self._protocol.is_held_back(self.number):
                    since = max(since, connection.moved_at)
                with trio.CancelScope(deadline=since + connection.server.stall):
                    await self._may_go_on.wait()
                    break
                still = self._protocol.is_held_back(self.number)
                if still or connection.moved_at <= since:
                    raise ClientStalled
        finally:
            connection.waiting.pop(self, None)
            self._may_go_on = None
        if connection.is_stalled:
            raise ClientStalled
