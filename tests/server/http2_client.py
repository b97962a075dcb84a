"""An HTTP/2 client for the tests, by h2: it does what it is told, and notes what comes."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import trio
from h2.settings import SettingCodes

from tests.connections import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIELDS = {
    ":method": "POST",
    ":path": "/v1/chat/completions",
    ":scheme": "http",
    ":authority": "127.0.0.1",
}
LARGEST = 2**31 - 1


class Client:
    """A connection, and what came on each of its streams; it takes nothing if not `is_taking`."""

    def __init__(
        self, stream: trio.abc.Stream, settings: dict[SettingCodes, int] | None = None
    ) -> None:
        self.stream = stream
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings.update(settings or {})
        self.h2.local_settings.acknowledge()
        for key, value in (settings or {}).items():
            if key == SettingCodes.HEADER_TABLE_SIZE:
                self.h2.decoder.max_allowed_table_size = value
        self.h2.initiate_connection()
        self.events: dict[int, list[h2.events.Event]] = {}
        self.is_taking = True
        self._turn = trio.Lock()

    async def send(self) -> None:
        await self.raw(self.h2.data_to_send())

    async def ask(self, number: int, path: str = "/healthz", method: str = "GET", **more: str) -> None:
        fields = FIELDS | {":path": path, ":method": method} | more
        self.h2.send_headers(number, list(fields.items()), end_stream=method == "GET")
        await self.send()

    async def chat(self, number: int, body: dict[str, Any]) -> None:
        self.h2.send_headers(number, list(FIELDS.items()))
        self.h2.send_data(number, json.dumps(body).encode(), end_stream=True)
        await self.send()

    async def raw(self, data: bytes) -> None:
        if data:
            async with self._turn:
                await self.stream.send_all(data)

    async def until(self, number: int, kind: type[h2.events.Event]) -> Any:
        """The event of that kind on that stream; 0 is the connection."""
        with trio.fail_after(20):
            while True:
                for event in self.events.get(number, ()):
                    if isinstance(event, kind):
                        return event
                await self.receive()

    async def receive(self) -> None:
        data = await self.stream.receive_some()
        assert data, self.events
        for event in self.h2.receive_data(data):
            self.events.setdefault(getattr(event, "stream_id", None) or 0, []).append(event)
            size = getattr(event, "flow_controlled_length", 0)
            if size and self.is_taking:
                self.h2.acknowledge_received_data(size, event.stream_id)
        with suppress(trio.BrokenResourceError):  # what the other side said at its end is in `events`
            await self.send()

    async def rest(self) -> None:
        """What comes until the server closes."""
        with trio.fail_after(20):
            while data := await self.stream.receive_some():
                for event in self.h2.receive_data(data):
                    self.events.setdefault(getattr(event, "stream_id", None) or 0, []).append(event)

    def body(self, number: int) -> bytes:
        """What has come of an answer."""
        found = self.events.get(number, ())
        return b"".join(e.data for e in found if isinstance(e, h2.events.DataReceived))

    def status(self, number: int) -> int:
        found = self.events.get(number, ())
        head = next(e for e in found if isinstance(e, h2.events.ResponseReceived))
        return int(dict(head.headers)[b":status"])

    def took(self, number: int) -> int:
        return len(self.body(number))


@asynccontextmanager
async def http2(stack: Any, settings: dict[SettingCodes, int] | None = None) -> AsyncIterator[Client]:
    async with connected(stack) as stream:
        client = Client(stream, settings)
        await client.send()
        yield client
