"""A client of few lines for memory streams: it keeps the bytes and the times at which they came."""

from __future__ import annotations

import json
from typing import Any

import trio
import trio.testing


def chat(
    model: str, text: str = "hello world", path: str = "/v1/chat/completions", **more: Any
) -> bytes:
    """A request that asks for a stream."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}], **more}
    raw = json.dumps(body).encode()
    return b"POST %s HTTP/1.1\r\nhost: demo\r\ncontent-length: %d\r\n\r\n%s" % (
        path.encode(),
        len(raw),
        raw,
    )


class Client:
    """One connection to an upstream, by default in memory and served in `nursery`."""

    def __init__(self, nursery: trio.Nursery | None, upstream: Any, streams: Any = None) -> None:
        self.stream, theirs = streams or trio.testing.memory_stream_pair()
        self.reads: list[tuple[float, bytes]] = []
        self._began = trio.current_time()
        if nursery is not None:
            nursery.start_soon(upstream.handle, theirs)

    @classmethod
    async def connect(cls, port: int) -> Client:
        """One over a real socket."""
        return cls(None, None, (await trio.open_tcp_stream("127.0.0.1", port), None))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read(self) -> bytes:
        """What comes next, noted with the seconds since the connection began."""
        data = bytes(await self.stream.receive_some())
        self.reads.append((trio.current_time() - self._began, data))
        return data

    async def read_until(self, mark: bytes) -> bytes:
        """All that came so far, once `mark` is in it.  Fails at an end before that."""
        while mark not in self.got:
            assert await self.read(), f"the connection ended before {mark!r}: {self.got!r}"
        return self.got

    async def read_all(self) -> bytes:
        while await self.read():
            pass
        return self.got

    async def leave(self) -> None:
        await trio.aclose_forcefully(self.stream)

    @property
    def got(self) -> bytes:
        return b"".join(data for _, data in self.reads)

    @property
    def body(self) -> bytes:
        """The chunked body so far, without its framing."""
        rest = self.got.partition(b"\r\n\r\n")[2]
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return body


def events(body: bytes) -> list[Any]:
    """The data of each SSE event, decoded from JSON where it is JSON."""
    found: list[Any] = []
    for event in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        if event.startswith(b"data: "):
            data = event.removeprefix(b"data: ")
            try:
                found.append(json.loads(data))
            except ValueError:
                found.append(data)
    return found


def contents(body: bytes) -> list[str]:
    """The text of each chunk that has any."""
    choices = [e["choices"][0] for e in events(body) if isinstance(e, dict) and e.get("choices")]
    return [one["delta"]["content"] for one in choices if one["delta"].get("content")]


def records(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines() if line]
