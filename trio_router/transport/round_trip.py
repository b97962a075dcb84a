"""One request and its response on an open connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import httpx
import trio

from trio_router.transport.http1 import OutgoingHead, ResponseParser, chunk
from trio_router.transport.sockets import BROKEN, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

    from trio_router.transport.dial import Origin

_JOINED = 65536  # bytes: a body up to this long is sent together with the head
_EARLY = 1 << 20  # bytes of a response that are kept while its request is still being written


class UpstreamConnection:
    """An open connection to `key`, with one exchange at a time.  `used` counts the finished ones."""

    def __init__(self, key: Origin, wire: Wire) -> None:
        self.key = key
        self.wire = wire
        self.used = 0

    def is_quiet(self) -> bool:
        return self.wire.is_quiet()

    def close(self) -> None:
        self.wire.close()


class OutgoingRequest:
    """A request ready to be sent: its head, and its body, whole or in pieces."""

    def __init__(
        self,
        head: OutgoingHead,
        body: bytes | None,
        stream: AsyncIterable[bytes] | None = None,
        *,
        bodyless_response: bool = False,
    ) -> None:
        self.head = head
        self.bodyless_response = bodyless_response
        self._body = body
        self._stream = stream

    @classmethod
    def of(
        cls, request: httpx.Request, target: bytes, extra: list[tuple[bytes, bytes]]
    ) -> OutgoingRequest:
        """Made from httpx's request.  Raises httpx.LocalProtocolError if it cannot be sent as HTTP."""
        method = request.method.encode("ascii", "replace")
        headers = request.headers.raw
        stream = request.stream
        body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else None
        head = OutgoingHead(method, target, headers + extra if extra else headers, body)
        pieces = stream if isinstance(stream, httpx.AsyncByteStream) else None
        return cls(head, body, pieces, bodyless_response=method in (b"HEAD", b"CONNECT"))

    def forget(self) -> None:
        """Frees the body once it is sent: a long prompt would stay as long as its answer takes."""
        self.head.data = b""
        self._body = None
        self._stream = None

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent a second time."""
        return self._body is not None

    def whole(self) -> list[bytes] | None:
        """The bytes to send, a small body joined with the head; None if the body comes in pieces."""
        body = self._body
        if body is None:
            return None
        if self.head.chunked:
            body = (chunk(body) if body else b"") + chunk(b"")
        elif len(body) != (self.head.length or 0):
            raise httpx.LocalProtocolError("the request's content-length is not its body's")
        if len(body) <= _JOINED:
            return [self.head.data + body]
        return [self.head.data, body]

    async def send_pieces(self, put: Callable[[bytes], Awaitable[None]]) -> None:
        """Passes each piece to `put` as it comes."""
        assert self._stream is not None
        await put(self.head.data)
        pieces = aiter(self._stream)
        try:
            size = await self._put_each(pieces, put)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        if self.head.chunked:
            await put(chunk(b""))
        elif size != self.head.length:
            raise httpx.LocalProtocolError("the request's content-length is not its body's")

    async def _put_each(
        self, pieces: AsyncIterator[bytes], put: Callable[[bytes], Awaitable[None]]
    ) -> int:
        size = 0
        async for piece in pieces:
            size += len(piece)
            if self.head.chunked:
                if piece:
                    await put(chunk(piece))
            elif size <= (self.head.length or 0):
                await put(piece)
            else:
                break  # never send more than announced: the rest would be read as another request
        return size


class _WriteBroken(Exception):
    """The connection broke while the request was being written; the cause says how."""


class RoundTrip:
    """Sends a request and reads the response's head; then `read` returns the body.

    `write` and `read` are the limits of one write and one read, in seconds; None: no limit.
    """

    def __init__(
        self, wire: Wire, request: OutgoingRequest, *, write: float | None, read: float | None
    ) -> None:
        self.response = ResponseParser(bodyless=request.bodyless_response)
        self._wire = wire
        self._request = request
        self._write_limit = write
        self._read_limit = read
        self._sent = False
        self._stopped = False  # writing was stopped: the response needs no more of the request
        self._early = b""  # body that came while the request was being written
        self._unreadable = ""  # the reason as text: a kept error's traceback would hold us

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow on this connection."""
        return self.response.keep_alive and self._sent and self._request.head.keep_alive

    async def run(self, on_sent: Callable[[], None] | None) -> bytes:
        """Runs up to the response's head.  Returns the body bytes that came with it.

        `on_sent` is called when the kernel has the last byte.  Raises httpx.WriteError,
        WriteTimeout, ReadError, ReadTimeout, RemoteProtocolError, LocalProtocolError.
        """
        broken = ""
        try:
            await self._send()
        except _WriteBroken as fault:
            broken = text_of(fault.__cause__)  # the response may have come before the break
        if self._sent and on_sent is not None:
            on_sent()
        body = self._early
        try:
            while not self.response.head_complete:
                self._check()
                body += await self.read()
        except (httpx.ReadError, httpx.RemoteProtocolError) as fault:
            if not broken or self.response.touched:
                raise
            raise httpx.WriteError(broken) from fault
        self._request.forget()
        return body

    async def read(self) -> bytes:
        """The body bytes of one read of the connection, perhaps none; check `response` afterwards.

        Raises httpx.ReadError, ReadTimeout.
        """
        try:
            if self._read_limit is None:
                data = await self._wire.receive()
            else:
                data = await self._receive_within(self._read_limit)
        except BROKEN as fault:
            raise httpx.ReadError(text_of(fault)) from fault
        return self._take(data)

    def _take(self, data: bytes) -> bytes:
        if data:
            return self.response.receive_data(data)
        self.response.receive_eof()
        return b""

    def _check(self) -> None:
        if self._unreadable:
            raise httpx.ReadError(self._unreadable)
        if self.response.fault is not None:
            raise self.response.error()

    async def _receive_within(self, limit: float) -> bytes:
        data: bytes | None = None
        with trio.move_on_after(limit):
            data = await self._wire.receive()
        if data is None:
            raise httpx.ReadTimeout(f"nothing to read for {limit} s")
        return data

    async def _send(self) -> None:
        whole = self._request.whole()
        if whole is None:
            await self._listening(partial(self._request.send_pieces, self._put))
        else:
            for data in whole:
                if not self._stopped:
                    await self._send_known(data)
        self._sent = not self._stopped

    async def _send_known(self, data: bytes) -> None:
        rest = self._put_now(data)
        if 0 < len(rest) <= self._wire.unwatched:
            await self._put_later(rest)
        elif rest:
            await self._listening(partial(self._put_later, rest))

    async def _put(self, data: bytes) -> None:
        rest = self._put_now(data)
        if rest:
            await self._put_later(rest)

    def _put_now(self, data: bytes) -> memoryview:
        try:
            return memoryview(data)[self._wire.send_some(data) :]
        except BROKEN as fault:
            raise _WriteBroken from fault

    async def _put_later(self, data: memoryview) -> None:
        try:
            with trio.move_on_after(inf if self._write_limit is None else self._write_limit) as scope:
                await self._wire.send(data)
        except BROKEN as fault:
            raise _WriteBroken from fault
        if scope.cancelled_caught:
            raise httpx.WriteTimeout(f"not written within {self._write_limit} s")

    async def _listening(self, send: Callable[[], Awaitable[None]]) -> None:
        """Runs `send()`; stops it if a response needs no more of the request, or at the end."""
        fault: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            try:
                await send()
            except Exception as error:  # raised below, because a nursery would wrap it
                fault = error
            nursery.cancel_scope.cancel()
        try:
            if fault is not None and not self._stopped:
                raise fault
        finally:
            del fault  # its traceback holds this frame

    async def _listen(self, writing: trio.CancelScope) -> None:
        response = self.response
        try:
            while self._wants_early_data():
                self._early += self._take(await self._wire.receive())
        except BROKEN as fault:
            self._unreadable = text_of(fault)
        if not response.head_complete or response.final_and_closing:
            self._stopped = True
            writing.cancel()

    def _wants_early_data(self) -> bool:
        response = self.response
        if response.fault is not None or response.done:
            return False
        if not response.head_complete:
            return True
        lost_on_stop = not self._wire.readable_after_cancelled_send
        return lost_on_stop and response.final_and_closing and len(self._early) < _EARLY


def text_of(fault: BaseException | None) -> str:
    """The text of `fault`, or of its cause if it has none, as trio's errors often have."""
    cause = None if fault is None else fault.__cause__
    return str(fault) or str(cause or "") or type(fault).__name__
