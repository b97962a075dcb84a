"""Requests for a local model: passed on to its process, and the answer back, byte for byte."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httptools
import trio

from trio_router.demo.answers import error_answer
from trio_router.demo.connection import Writer
from trio_router.demo.local_model import ModelDownError

if TYPE_CHECKING:
    from trio_router.demo.connection import Connection, SeenRequest
    from trio_router.demo.local_model import LocalModel

_READ = 65536
_NOT_PASSED_ON = {"host", "connection", "keep-alive", "te", "transfer-encoding", "upgrade"}
_NOT_PASSED_ON |= {"expect", "content-length", "authorization"}


class _End:
    """Follows an answer, only to know whether it came in full."""

    def __init__(self) -> None:
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        # What is no HTTP remains its reader's business; it just never is complete.
        with suppress(httptools.HttpParserError):
            self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.complete = True


class Relay:
    """Stands in for a Writer where the answer comes from a local model."""

    keep_alive = False  # the model's server was asked to close, and says so in its answer

    def __init__(self, connection: Connection, request: SeenRequest, model: LocalModel) -> None:
        self._connection, self._request, self._model = connection, request, model
        self.complete = False
        self.chunks = 0

    async def write(self) -> None:
        """Relay the answer; HTTP 503 if the model cannot be had or ends before it says anything.

        Raises BrokenResourceError if the reader is gone.  When cancelled, the connection to the model
        is closed at once, and that is what makes it stop generating.
        """
        try:
            port = await self._model.port()
            upstream = await trio.open_tcp_stream("127.0.0.1", port)
        except (ModelDownError, OSError) as fault:
            await self._unavailable(str(fault))
            return
        async with upstream:
            await self._relay(upstream, port)

    async def finish(self) -> None:
        """Nothing: the end of the body came from the model."""
        await trio.lowlevel.checkpoint()

    async def _relay(self, upstream: trio.SocketStream, port: int) -> None:
        end = _End()
        data = await _ask(upstream, self._head(port) + self._request.body)
        if not data:
            await self._unavailable(f"{self._model.name} ended before it answered")
            return
        while data:
            end.feed(data)
            await self._connection.write(data)
            self.chunks += 1
            if end.complete:
                self.complete = True
                return
            data = await _receive(upstream)

    async def _unavailable(self, why: str) -> None:
        headers = (("connection", "close"), ("retry-after", "1"))
        answer = error_answer(503, why, "model_unavailable", headers=headers)
        writer = Writer(self._connection, self._request, answer)
        await writer.write()  # it has a length, and so nothing to finish
        self.complete = writer.complete

    def _head(self, port: int) -> bytes:
        request = self._request
        target = f"{request.path}?{request.query}" if request.query else request.path
        lines = [f"{request.method} {target} HTTP/1.1", f"host: 127.0.0.1:{port}"]
        lines += [f"{k}: {v}" for k, v in request.headers.items() if k not in _NOT_PASSED_ON]
        lines += [f"content-length: {len(request.body)}", "connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1")


async def _ask(upstream: trio.SocketStream, request: bytes) -> bytes:
    """Send the request; the first bytes of the answer, none if there is none."""
    try:
        await upstream.send_all(request)
    except trio.BrokenResourceError:
        return b""
    return await _receive(upstream)


async def _receive(upstream: trio.SocketStream) -> bytes:
    """The next bytes; none at the end, whether it was a clean one or not."""
    try:
        return bytes(await upstream.receive_some(_READ))
    except trio.BrokenResourceError:
        return b""
