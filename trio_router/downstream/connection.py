"""One HTTP request as our ASGI application sees it: its nursery, its body, its client's leaving.

quart-trio's own connection class takes the `http.disconnect` that Hypercorn sends at the end of *every*
response for a client that left, and cancels itself inside the last send: keep-alive connections are
then never reused or timed out, and an answer sent before the request's body has come leaves the
connection dead.  This class knows a finished response from a left client, and lets a bounded rest of
the body come in before an early answer.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import trio
from quart_trio.asgi import TrioASGIHTTPConnection

from trio_router.downstream.reply import Reply, error_reply
from trio_router.downstream.server import WRITE_CHUNK, ClientWriteStalled
from trio_router.errors import InternalError, RequestTooLarge, RouterError
from trio_router.record import RequestRecord
from trio_router.relay.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
    from quart import Response

    from trio_router.downstream.app import RouterApp
    from trio_router.relay.exchange import StreamReply

    _Send = Callable[[Any], Awaitable[None]]

logger = logging.getLogger("trio_router")
_OPERATIONAL = frozenset({"/healthz", "/readyz", "/metrics"})
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_DRAIN_SECONDS = 5  # for the rest of a body whose request is refused already
_JOIN = 65536  # bytes: frames that wait already go out in one write, up to about this


class RequestBody:
    """A request's body as it comes in; of a body over `limit` bytes nothing is kept."""

    def __init__(self, limit: int, declared: int | None) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._is_refused = declared is not None and declared > limit
        self.is_complete = trio.Event()
        self._decided = trio.Event()
        if self._is_refused:
            self._decided.set()

    def feed(self, data: bytes, *, more: bool) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._is_refused = True
            self._parts.clear()
        if not self._is_refused:
            self._parts.append(data)
        if self._is_refused or not more:
            self._decided.set()
        if not more:
            self.is_complete.set()

    async def read(self) -> bytes:
        """The whole body.  Raises RequestTooLarge as soon as it is known to be too large."""
        await self._decided.wait()
        if self._is_refused:
            raise RequestTooLarge(f"the request's body has more than {self._limit} bytes")
        return b"".join(self._parts)


class RelayConnection(TrioASGIHTTPConnection):
    """One request: its record, its nursery, its exchange, its answer."""

    def __init__(self, app: RouterApp, scope: HTTPScope) -> None:
        super().__init__(app, scope)
        self.router = app.router
        self.router_app = app
        self._is_finishing = False
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"")
        limit = self.router.config.server.max_body
        self.body = RequestBody(limit, int(declared) if declared.isdigit() else None)
        self.record = RequestRecord(
            request_id=_request_id(headers.get(b"x-request-id", b"")),
            started_at=trio.current_time(),
        )

    def authenticate(self) -> None:
        """Notes whose key the request has.  Raises Unauthorized."""
        server = self.scope.get("server")
        given = next((v for n, v in self.scope["headers"] if n == b"authorization"), b"")
        self.record.key = self.router_app.authenticator.check(
            given.decode("latin-1"), server[0] if server else None
        )

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async with trio.open_nursery() as nursery:
            self.exchange = Exchange(
                self.router,
                nursery,
                self.record,
                is_booked=self.scope["path"] not in _OPERATIONAL,
            )
            try:
                nursery.start_soon(self._watch, nursery, receive)
                answer = await self._answer(send)
                try:
                    await self._respond(answer, send)
                except ClientWriteStalled:
                    self.exchange.client_stalled()
                nursery.cancel_scope.cancel()
            finally:
                self.exchange.close()

    async def _watch(self, nursery: trio.Nursery, receive: ASGIReceiveCallable) -> None:
        """Takes in the body; then waits for the client to leave."""
        while True:
            message = await receive()
            if message["type"] == "http.request":
                self.body.feed(message.get("body", b""), more=message.get("more_body", False))
            elif message["type"] == "http.disconnect":
                if not self._is_finishing:
                    self.exchange.client_left()
                    nursery.cancel_scope.cancel()
                return

    async def _answer(self, send: ASGISendCallable) -> Reply | Response:
        endpoint = self.router_app.hot.get((self.scope["method"], self.scope["path"]))
        if endpoint is None:
            self.scope["trio_router"] = self  # type: ignore[typeddict-unknown-key]
            request = self._create_request_from_scope(send)
            return cast("Response", await self.app.handle_request(request))
        # What everyone asks for goes past Quart's contexts, signals and response objects.
        try:
            return await endpoint(self)
        except RouterError as error:
            return self._failed(error)
        except Exception as fault:
            return self._failed(internal_error(fault, self.record.request_id))

    def _failed(self, error: RouterError) -> Reply:
        self.exchange.failed(error)
        return error_reply(error, self.record)

    async def _respond(self, answer: Reply | Response, send: ASGISendCallable) -> None:
        self.record.status = answer.status if isinstance(answer, Reply) else answer.status_code
        answer.headers["x-request-id"] = self.record.request_id
        if not self.body.is_complete.is_set():
            with trio.move_on_after(_DRAIN_SECONDS):
                await self.body.is_complete.wait()
            if not self.body.is_complete.is_set():
                answer.headers["connection"] = "close"
        tracked = self._tracked(send)
        if isinstance(answer, Reply):
            await self._send_reply(tracked, answer)
        else:
            await self._send_response(tracked, answer)

    def _tracked(self, send: ASGISendCallable) -> _Send:
        async def tracked(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._is_finishing = True
            await send(message)

        return tracked

    async def _send_reply(self, send: _Send, reply: Reply) -> None:
        if reply.stream is None:
            reply.headers["content-length"] = str(len(reply.body))
        headers = [(n.encode("ascii"), v.encode("latin-1")) for n, v in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if reply.stream is not None:
            await self._send_stream(send, reply.stream)
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _send_stream(self, send: _Send, stream: StreamReply) -> None:
        write = self._chunk_writer(send)
        async for frames in stream.frames:
            await write(_with_what_waits(frames, stream.frames))
        if stream.tail:
            await write(stream.tail)

    def _chunk_writer(self, send: _Send) -> Callable[[bytes], Awaitable[None]]:
        """What writes a piece of the body: our server's short cut, where this is our server."""
        short_cut = self.scope.get("state", {}).get(WRITE_CHUNK)
        if short_cut is not None and self.scope["http_version"] == "1.1":
            return cast("Callable[[bytes], Awaitable[None]]", short_cut)

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        return write


def _with_what_waits(frames: bytes, channel: trio.MemoryReceiveChannel[bytes]) -> bytes:
    """`frames`, and those behind it that are there already; nothing is waited for."""
    parts = [frames]
    size = len(frames)
    while size < _JOIN:
        try:
            more = channel.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            break
        parts.append(more)
        size += len(more)
    return frames if len(parts) == 1 else b"".join(parts)


def internal_error(fault: Exception, request_id: str) -> InternalError:
    """Our own fault: logged in full, told without detail."""
    logger.error("internal error", exc_info=fault, extra={"fields": {"request_id": request_id}})
    return InternalError(f"internal error; request id {request_id}")


def _request_id(given: bytes) -> str:
    text = given.decode("latin-1")
    return text if _SANE_ID.fullmatch(text) else f"req_{uuid4().hex}"
