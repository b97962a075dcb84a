"""The other side of a connection, for the transport's tests."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from functools import partial

import httptools
import httpx
import trio
import trio.testing

from trio_router.transport import StreamTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class MemoryNet:
    """Connections in memory: `streams` holds the server's end of each, `asked` where each led."""

    def __init__(self, *, lockstep=False):
        self.streams = []
        self.asked = []
        self._pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair

    async def connect(self, host, port):
        await trio.lowlevel.checkpoint()
        self.asked.append((host, port))
        ours, theirs = self._pair()
        self.streams.append(theirs)
        return ours

    def transport(self, **options):
        return StreamTransport(connect=self.connect, trust_env=False, **options)


class Request:
    def __init__(self):
        self.method = b""
        self.target = b""
        self.headers = {}
        self.body = b""
        self.done = False


class RequestReader:
    """Reads the requests on one stream."""

    def __init__(self, stream):
        self._stream = stream
        self._parser = httptools.HttpRequestParser(self)
        self._ready = []

    def on_message_begin(self):
        self.latest = Request()

    def on_url(self, url):
        self.latest.target += url

    def on_header(self, name, value):
        self.latest.headers[name.lower()] = value

    def on_body(self, data):
        self.latest.body += data

    def on_message_complete(self):
        self.latest.method = self._parser.get_method()
        self._ready.append(self.latest)

    async def next(self):
        """The next whole request, None at the end of the stream."""
        while not self._ready:
            if not await self.read_some():
                return None
        return self._ready.pop(0)

    async def read_some(self):
        """One read of the stream; False at its end."""
        data = await self._stream.receive_some(65536)
        if data:
            self._parser.feed_data(bytes(data))
        return bool(data)


async def read_request(stream):
    return await RequestReader(stream).next()


def get(url="http://server/", **timeouts):
    return httpx.Request("GET", url, extensions={"timeout": timeouts})


def post(content, url="http://server/", **timeouts):
    return httpx.Request("POST", url, content=content, extensions={"timeout": timeouts})


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces):
        self._pieces = pieces

    async def __aiter__(self):
        for piece in self._pieces:
            yield piece


async def body_items(response):
    return [item async for item in response.stream]


async def items_and_fault(response):
    """What the body gave, and the exception that ended it (None at a good end)."""
    items = []
    try:
        async for item in response.stream:
            items.append(item)  # noqa: PERF401  what came before a fault must be kept
    except httpx.TransportError as fault:
        return items, fault
    return items, None


@asynccontextmanager
async def listening(handler, *, host="127.0.0.1"):
    """`handler(stream)` serves each connection on a loopback port, whose number is given.

    That the other side leaves early is no fault of it."""

    async def handle(stream):
        with suppress(trio.BrokenResourceError):
            await handler(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host=host))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def open_files():
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
