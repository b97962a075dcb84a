"""A client's HTTP/1.1 connection: one task reads, another answers the request that is at its turn."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from trio_router.server.http1_link import Http1Link, refusal
from trio_router.server.request_body import UNASKED
from trio_router.server.request_parser import RequestParser
from trio_router.server.service import WHOLE_HEAD
from trio_router.server.websocket import WebSocketConnection
from trio_router.transport.sockets import BROKEN, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.clock.alarms import Alarm
    from trio_router.server.link import Answer, Answering
    from trio_router.server.request_body import RequestBody
    from trio_router.server.request_parser import RequestHead
    from trio_router.server.service import Service

logger = logging.getLogger("trio_router")
_AHEAD = 8  # pipelined requests that may wait; the connection closes after the last of them
_LINGER = 1.0  # s of silence that a client gets to read the last answer before we close
_LONGEST_LINGER = 30.0  # s that it may go on sending before it reads that answer


class Http1Connection:
    """A client's connection: one task reads, another answers one request after another.

    So a client that leaves is noticed at once, whatever its request is waiting for.
    """

    def __init__(
        self,
        server: Service,
        wire: Wire,
        host: str | None,
        client: tuple[str, int] | None = None,
    ) -> None:
        self.server = server
        self.wire = wire
        self.host = host
        self.client = client
        self._parser = RequestParser(self._begin)
        self._waiting: list[Http1Link] = []
        self._latest: RequestBody | None = None  # the body that is read now, or was read last
        self._current: Answering | None = None
        self._turn: Http1Link | None = None  # of the current request, until the answering task has it
        self._is_answering = False  # the answering task lives, from the first request on
        self._sleeper: trio.lowlevel.Task | None = None  # the answering task, while it has none
        self._is_closing = False
        self._ahead = 0  # bytes read while requests wait for their turn
        self._none_waits: trio.Event | None = None
        self._is_head_timed = False
        self._heard = 0  # reads that returned data
        self._has_ended = False  # the client has closed its sending side
        self._lingering: trio.CancelScope | None = None
        self._socket: WebSocketConnection | None = None  # what the client has switched to
        self._idle: Alarm = server.alarms.alarm(self._late)

    async def run(self, first: bytes) -> None:
        """Serves the connection to its end; `first` is what was read of it already."""
        self.server.connections[self] = None
        try:
            async with trio.open_nursery() as self._nursery:
                self._rest()
                await self._read(first)
                self._has_ended = True
                if self._lingering is not None:
                    self._lingering.cancel()
                if self._socket is not None:
                    self._socket.lost()
                if self._current is not None:
                    self._current.client_left()
                self._forget_waiting()
                self._wake()
        finally:
            self.server.connections.pop(self, None)
            self._idle.stop()
            self._parser.end()
            self.wire.close()

    def close_if_idle(self) -> None:
        """Closes the connection if no request is being answered."""
        if self._socket is not None:
            self._socket.end()
        elif self._current is None:
            self.wire.close()

    def switch(self, answer: Answer, new_body: Callable[[], RequestBody]) -> None:
        self._socket = WebSocketConnection(self, answer, new_body, self._nursery)
        self._socket.receive(self._parser.take_behind())

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
            if self._socket is not None:
                self._socket.receive(data)
            elif not self._is_closing:
                self._parser.receive_data(data)
                self._go_on()
                if self._current is None and self._parser.is_in_head and not self._is_head_timed:
                    self._rest()
            if self._socket is not None:
                if self._socket.is_full:
                    await self._wait_while_watching(self._socket.wait_room)
            elif self._waiting:
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
            self._current = self.server.app.request(link)
            self._turn = link
            self._wake()
            if not self._is_answering:
                self._is_answering = True
                self._nursery.start_soon(self._answer_all)
        elif self._parser.fault is not None:
            self._is_closing = True
            self._nursery.start_soon(self._refuse, self._parser.fault)
        elif self.server.is_ending:
            self.wire.close()

    # -- the answering task: one for all requests, because a task costs 10 us to begin and to end

    async def _answer_all(self) -> None:
        while self._current is not None and self._turn is not None:
            link, self._turn = self._turn, None
            await self._answer(self._current, link)
            del link
            if self._turn is None and not self._has_ended:
                self._sleeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._give_up)
        self._is_answering = False

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _answer(self, request: Answering, link: Http1Link) -> None:
        try:
            await request.run()
        except Exception:
            logger.exception("a request failed")
        self._current = None
        if self._socket is not None:
            await self._converse(self._socket)
        elif not link.is_finished:
            self._forget_waiting()
            self.wire.close()  # the answer broke off: nothing more can be sent here
        elif not link.keep_alive:
            await self._close_gently(is_read=link.body.is_complete)
        else:
            self._rest()
            self._go_on()

    async def _converse(self, socket: WebSocketConnection) -> None:
        """The rest of the connection is a WebSocket's."""
        if self._has_ended:
            socket.lost()
        await socket.serve()
        self._socket = None

    def _rest(self) -> None:
        self._is_head_timed = self._parser.is_in_head
        patience = WHOLE_HEAD if self._is_head_timed else self.server.keep_alive
        self._idle.set(trio.current_time() + patience)

    async def _refuse(self, status: int) -> None:
        try:
            await self.wire.send_patiently(refusal(status, self.server.wall()), self.server.stall)
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
