"""Waiting for the records of requests."""

from __future__ import annotations

import trio


class Booked:
    """Waits for requests to be booked."""

    def __init__(self, router) -> None:
        self.records = []
        self._send, self._receive = trio.open_memory_channel(100)
        router.engine.consumers = [self._take]

    def _take(self, record) -> None:
        self.records.append(record)
        self._send.send_nowait(record)

    async def next(self):
        with trio.fail_after(5):
            return await self._receive.receive()
