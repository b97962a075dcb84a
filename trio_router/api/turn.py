"""One message of a WebSocket as a request: its answer's events are messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_router.api.conversation import Heard
from trio_router.wire.jsoncodec import JSONError, dumps, loads
from trio_router.wire.sse import SSEDecoder
from trio_router.wire.websocket import ping_frame, text_frame
from trio_router.wire.written import Written

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.server.link import Headers, Link, MessageWriter
    from trio_router.server.request_body import RequestBody

_OF_HANDSHAKE = (b"connection", b"upgrade", b"content-type", b"content-length", b"x-request-id")
_LONGEST = 1 << 40  # bytes of an event: what comes has been limited already
_MAY_BE_ERROR = re.compile(rb'"type"\s*:\s*"error"').search


def own_headers(handshake: Headers) -> Headers:
    """The headers that a message's request has from the handshake."""
    kept = [
        field
        for field in handshake
        if field[0] not in _OF_HANDSHAKE and not field[0].startswith(b"sec-websocket-")
    ]
    return [*kept, (b"content-type", b"application/json")]


class TurnLink:
    """See `Link`.  `handshake` is the request that opened the WebSocket.

    `lane` is the client's name for the stream that its events are to be marked with.  `on_said` is
    called when a response has been sent to its good end.
    """

    method = "POST"
    offer = None
    may_wait_for_body = True

    def __init__(
        self, handshake: Link, headers: Headers, body: RequestBody, writer: MessageWriter
    ) -> None:
        self._handshake = handshake
        self._writer = writer
        self.path = handshake.path
        self.headers = headers
        self.body = body
        self.lane: str | None = None
        self.on_said: Callable[[Heard], None] | None = None
        self._said = Heard()
        self._status = 0
        self._told: dict[str, str] = {}
        self._decoder = SSEDecoder(_LONGEST)

    @property
    def server(self) -> str | None:
        return self._handshake.server

    @property
    def raw_path(self) -> bytes:
        return self._handshake.raw_path

    @property
    def client(self) -> str | None:
        return self._handshake.client

    @property
    def query(self) -> bytes:
        return self._handshake.query

    @property
    def is_secure(self) -> bool:
        return self._handshake.is_secure

    @property
    def on_moved(self) -> Callable[[], None]:
        return self._writer.on_moved

    @on_moved.setter
    def on_moved(self, heard: Callable[[], None]) -> None:
        self._writer.on_moved = heard

    async def start(self, status: int, headers: Headers) -> None:
        self._status = status
        self._told = {name.decode(): value.decode("latin-1") for name, value in headers}

    async def write(self, data: bytes) -> None:
        await self._writer.send(self._frames(data))

    def write_now(self, data: bytes) -> Written:
        # Whatever is decoded here is not decoded again: from here on, the writer keeps it.
        return self._writer.send_now(self._frames(data)) if self._writer.is_free else Written.NONE

    async def finish(self, data: bytes = b"") -> None:
        is_stream = self._status == 200
        frames = self._frames(data) if is_stream else self._error(data)
        await self._writer.send(frames)
        self._writer.is_answered = True
        if is_stream and self.on_said is not None:
            self.on_said(self._said)

    async def tear(self) -> None:
        """Nothing to do: a connection whose message is not answered is closed."""

    def _frames(self, data: bytes) -> bytes:
        """The messages for the events in `data`; a comment is a ping."""
        frames = []
        for event in self._decoder.receive_data(data):
            if event.data == b"[DONE]":
                continue
            self._said.add(event.data)
            data = _socket_error(event.data) if _MAY_BE_ERROR(event.data) else event.data
            frames.append(text_frame(self._marked(data)))
        if not frames and data.startswith(b":"):
            return ping_frame()
        return b"".join(frames)

    def _marked(self, data: bytes) -> bytes:
        text = data.lstrip()
        if self.lane is None or not text.startswith(b"{"):
            return data
        return b'{"stream_id":%b,%b' % (dumps(self.lane), text[1:])

    def _error(self, body: bytes) -> bytes:
        """An answer with an error status, as an event; nothing for an answer without a body."""
        if not body:
            return b""
        told: dict[str, Any] = {"type": "error", "status": self._status, **loads(body)}
        told["headers"] = {
            name: value
            for name, value in self._told.items()
            if name == "retry-after" or name.startswith("x-")
        }
        return text_frame(self._marked(dumps(told)))


def _socket_error(event: bytes) -> bytes:
    """A stream's `error` event in the shape that it has over a WebSocket: `status` and `error`.

    Clients know no other end of a turn by an error: with a stream's own shape they go on waiting,
    because here the connection stays.  What stands in the event stays in it.
    """
    try:
        told = loads(event)
    except JSONError:
        return event
    if not isinstance(told, dict) or told.get("type") != "error" or "error" in told:
        return event  # with `error` it is one of ours, which `response.failed` follows
    error = {name: told.get(name) for name in ("code", "message", "param")}
    return dumps({**told, "status": 500, "error": {"type": "server_error", **error}})
