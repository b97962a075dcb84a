"""A connection in memory whose server's end counts what is asked of it."""

from __future__ import annotations

import trio
import trio.testing

from tests.stack import ServerStream
from trio_router.serve.serving import http_server
from trio_router.transport.sockets import StreamWire


class Counting(ServerStream):
    """Counts what the server reads."""

    taken = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await super().receive_some(max_bytes)
        self.taken += len(data)
        return data


class Connected:
    """A connection to `stack` in memory, whose server's end counts."""

    def __init__(self, stack, nursery) -> None:
        self.client, theirs = trio.testing.memory_stream_pair()
        self.end = Counting(theirs)
        self.wire = StreamWire(self.end)
        self.server = http_server(stack.router, stack.app)
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        await self.server.handle_http1(self.wire, "127.0.0.1", await self.wire.receive())
