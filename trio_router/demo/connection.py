"""One HTTP/1.1 connection, served: requests are read ahead, answers written step by step."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING, Any

import httptools
import trio

from trio_router.demo.answers import Abort, Close, Hang, Send, Sleep, WaitFor
from trio_router.wire.causes import free_causes
from trio_router.wire.jsoncodec import JSONError, loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.demo.answers import Answer

_READ = 65536
_AHEAD = 100  # pipelined requests that wait; a peer that sends more is cut off
MAX_BODY = 1 << 26  # bytes of a request


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it came.  Header names are lower case; of equal ones the last counts.

    `json` is the body's value, None if it is empty or no JSON.  `at` is `trio.current_time()`.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    json: Any
    at: float
    keep_alive: bool = field(default=True, repr=False)
    http10: bool = field(default=False, repr=False)


class BadRequest(Exception):
    """What the peer sent is no HTTP/1.1 request, or one that is too large."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Parser:
    """Callbacks of httptools; complete requests gather in `ready`."""

    def __init__(self) -> None:
        self.ready: list[SeenRequest] = []
        self._http = httptools.HttpRequestParser(self)
        self._clear()

    def feed(self, data: bytes) -> None:
        """Raises BadRequest."""
        try:
            self._http.feed_data(data)
        except httptools.HttpParserCallbackError as fault:
            cause = fault.__context__
            raise (cause if isinstance(cause, BadRequest) else fault) from None
        except httptools.HttpParserError as fault:
            raise BadRequest(400, f"this is not HTTP: {fault}") from None

    def close(self) -> None:
        """Break the cycle between httptools' parser and us, which only the collector would find."""
        del self._http

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY:
            raise BadRequest(413, f"the body is larger than {MAX_BODY} bytes")

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        body = bytes(self._body)
        try:
            value = loads(body) if body else None
        except JSONError:
            value = None
        self.ready.append(
            SeenRequest(
                method=self._http.get_method().decode("latin-1"),
                path=path,
                query=query,
                headers=self._headers,
                body=body,
                json=value,
                at=trio.current_time(),
                keep_alive=self._http.should_keep_alive(),
                http10=self._http.get_http_version() == "1.0",
            )
        )
        self._clear()


class Connection:
    """A stream with a parser on its reading side and a writer of answers on the other.

    `left_at` is the time at which the peer was seen to be gone, by an end of its sending side too.
    """

    def __init__(self, stream: trio.abc.Stream, count: Callable[[int], None]) -> None:
        self._stream, self._count = stream, count
        self._to_serve, self._requests = trio.open_memory_channel[SeenRequest | BadRequest](_AHEAD)
        self.left_at: float | None = None

    async def read_ahead(self) -> None:
        """Read requests until the peer is gone.  What is not HTTP ends in a BadRequest to serve."""
        parser = _Parser()
        try:
            await self._read_into(parser)
        except (trio.BrokenResourceError, trio.WouldBlock) as fault:
            free_causes(fault)  # gone, or cut off for sending too many requests
        finally:
            parser.close()
        self.note_leaving()

    async def _read_into(self, parser: _Parser) -> None:
        while data := await self._stream.receive_some(_READ):
            try:
                parser.feed(bytes(data))
            except BadRequest as fault:
                self._to_serve.send_nowait(fault)
                await self._read_on()
                break
            for request in parser.ready:
                self._to_serve.send_nowait(request)
            parser.ready.clear()

    async def next_request(self) -> SeenRequest | BadRequest:
        return await self._requests.receive()

    def note_leaving(self) -> None:
        if self.left_at is None:
            self.left_at = trio.current_time()

    async def write(self, data: bytes) -> None:
        """All of it, in one write if the stream takes it.  Raises BrokenResourceError: peer gone."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as fault:
            free_causes(fault)
            self.note_leaving()
            raise
        self._count(len(data))

    def reset_on_close(self) -> None:
        """Let the close that follows be a reset (RST) where the stream is a socket."""
        stream = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream):
            with suppress(OSError):  # some systems refuse it once the peer is gone
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def close(self) -> None:
        """At once, also when cancelled."""
        await trio.aclose_forcefully(self._stream)
        self._to_serve.close()
        self._requests.close()

    async def _read_on(self) -> None:
        """Only to see the peer leave."""
        while await self._stream.receive_some(_READ):
            pass


class Writer:
    """Writes one answer.  `complete` once its last step is done, `chunks` writes of body later."""

    def __init__(self, connection: Connection, request: SeenRequest, answer: Answer) -> None:
        self._connection, self._answer = connection, answer
        close = answer.framing == "close" or (request.http10 and answer.framing == "chunked")
        self._framing = "close" if close else answer.framing
        self._head_only = request.method == "HEAD"
        asked = (answer.header("connection") or "").lower()
        self.keep_alive = request.keep_alive and not close and asked != "close"
        self.complete = False
        self.chunks = 0

    async def write(self) -> None:
        """Play the answer, all but what ends the body.  Raises BrokenResourceError if the peer is gone.

        After an Abort or a Close, `complete` is False and `keep_alive` too.
        """
        steps = self._answer.steps
        head = self._head()
        if self._answer.head_delay:
            await trio.sleep(self._answer.head_delay)
        await self._connection.write(head)
        for step in () if self._head_only else steps:
            if isinstance(step, Abort | Close):
                if isinstance(step, Abort):
                    self._connection.reset_on_close()
                self.keep_alive = False
                return
            await self._take(step)
        self.complete = True

    async def finish(self) -> None:
        """Write what ends the body, where something does.  Raises as `write` does.

        It is apart from `write` so that the answer is counted before its reader can see its end: that
        reader may look at the counts, or leave, and did not leave early.
        """
        if self.complete and self._framing == "chunked" and not self._head_only:
            await self._connection.write(b"0\r\n\r\n")

    async def _take(self, step: Send | Sleep | Hang | WaitFor) -> None:
        match step:
            case Send(data):
                if data:  # an empty chunk would end the body
                    await self._connection.write(self._frame(data))
                    self.chunks += 1
            case Sleep(seconds):
                await trio.sleep(seconds)
            case Hang():
                await trio.sleep_forever()
            case WaitFor(event):
                await event.wait()

    def _frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._framing == "chunked" else data

    def _head(self) -> bytes:
        status = self._answer.status
        phrase = responses.get(status, "Scripted")
        lines = [f"HTTP/1.1 {status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in self._answer.headers]
        if self._framing == "chunked":
            lines.append("transfer-encoding: chunked")
        elif self._framing == "length" and self._answer.header("content-length") is None:
            lines.append(f"content-length: {self._length()}")
        if not self.keep_alive and self._answer.header("connection") is None:
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _length(self) -> int:
        steps = self._answer.steps
        if iter(steps) is steps:
            raise ValueError("an answer whose steps are an iterator needs a content-length header")
        return sum(len(step.data) for step in steps if isinstance(step, Send))
