"""A WebSocket client over any trio stream, which can also break every rule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

if TYPE_CHECKING:
    import trio

ASK = {"type": "response.create", "model": "any/echo", "input": "Hello, world!"}


class SocketClient:
    """`seen` are the events of wsproto, in their order; `closed` is the code of the server's close."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.seen: list[Any] = []
        self.closed: int | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._events: list[Any] = []
        self._text = ""

    async def open(self, path: str = "/v1/responses", **headers: str) -> int:
        """The status of the answer to the handshake."""
        extra = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        asked = Request(host="localhost", target=path, extra_headers=extra)
        await self.stream.send_all(self.ws.send(asked))
        while True:
            match await self._event():
                case AcceptConnection():
                    self.status = 101
                    return 101
                case RejectConnection(status_code=status, headers=told):
                    self.status = status
                    self.headers = {k.decode(): v.decode() for k, v in told}
                case RejectData(data=data, body_finished=is_last):
                    self.body += data
                    if is_last:
                        return self.status

    async def send(self, message: Any, *, pieces: int = 1) -> None:
        """A message in so many frames."""
        text = message if isinstance(message, str) else json.dumps(message)
        step = -(-len(text) // pieces)
        for start in range(0, len(text), step):
            last = start + step >= len(text)
            piece = TextMessage(data=text[start : start + step], message_finished=last)
            await self.stream.send_all(self.ws.send(piece))

    async def ping(self, payload: bytes = b"") -> None:
        await self.stream.send_all(self.ws.send(Ping(payload=payload)))

    async def close(self, code: int = 1000) -> None:
        await self.stream.send_all(self.ws.send(CloseConnection(code=code)))

    async def next(self) -> dict[str, Any] | None:
        """The next message; None when the server has closed."""
        while True:
            event = await self._event()
            if event is None:
                return None
            if isinstance(event, Message):
                self._text += event.data
                if event.message_finished:
                    text, self._text = self._text, ""
                    return json.loads(text)

    async def response(self) -> list[dict[str, Any]]:
        """All events of one response, up to its end."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
            ends = ("completed", "incomplete", "failed")
            if event["type"] in [f"response.{e}" for e in ends] or "status" in event:
                break
        return events

    async def pong(self) -> bytes:
        while not isinstance(event := await self._event(), Pong):
            assert event is not None
        return bytes(event.payload)

    async def _event(self) -> Any:
        while not self._events:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.ws.receive_data(data)
            self._events += self.ws.events()
            for event in self._events:
                if isinstance(event, Ping):
                    await self.stream.send_all(self.ws.send(event.response()))
        event = self._events.pop(0)
        self.seen.append(event)
        if isinstance(event, CloseConnection):
            self.closed = int(event.code)
            return None
        return event


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
