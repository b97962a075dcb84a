"""Requests that pass through unchanged: the body may be long, the answer is of any kind.

One task of the request's own reads the body from the client as fast as the upstream takes it, and reads
the answer from the upstream as fast as the client takes it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import trio

from trio_router.dialects.usage import passing_usage
from trio_router.wire.jsoncodec import JSONError, loads

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio_router.errors import RouterError
    from trio_router.observe.record import RequestRecord
    from trio_router.relay.attempt import Attempt
    from trio_router.relay.client import PassingRequest, UpstreamAnswer
    from trio_router.routing.target import Target

    OnMoved = Callable[[], None]
    Opening = Callable[[], AbstractAsyncContextManager[tuple[Target, PassingRequest]]]

# Header fields of the answer that reach the client; the others concern only the upstream and us.
_HEADERS = (
    b"content-type",
    b"content-encoding",
    b"content-disposition",
    b"cache-control",
    b"etag",
    b"last-modified",
)
_READ = 65536  # bytes: a JSON answer up to this long is searched for its usage


class _State(Enum):
    """How far an answer is."""

    OPENING = "opening"  # the client has nothing of it
    FLOWING = "flowing"  # the client has its head
    TORN = "torn"  # it broke off after its head


class Passage:
    """An answer on its way; see StreamReply.  `opening` gives the request and its target."""

    tail = b""

    def __init__(self, opening: Opening, buffer: int) -> None:
        self.opening = opening
        self.begun = trio.Event()  # the head is there, or it is known that there will be none
        self.error: RouterError | None = None  # why there will be none
        self._state = _State.OPENING
        self.status = 0
        self.headers: dict[str, str] = {}
        self._on_moved: OnMoved | None = None  # of who waits for room
        self.send, self._pieces = trio.open_memory_channel[bytes](buffer)

    @property
    def is_committed(self) -> bool:
        """Whether the client has the answer's head."""
        return self._state is not _State.OPENING

    @property
    def is_torn(self) -> bool:
        """Whether the answer broke off after its head."""
        return self._state is _State.TORN

    def begin(self, response: UpstreamAnswer) -> None:
        """Takes the head of `response`: the client gets it now, and the body as it comes."""
        self.status = response.status
        for name in _HEADERS:
            if value := response.header(name):
                self.headers[name.decode()] = value
        response.take_as_it_is()
        if length := response.header(b"content-length"):
            self.headers["content-length"] = length
        self._state = _State.FLOWING
        self.begun.set()

    def fail(self, error: RouterError) -> None:
        """Before the head, the client gets `error` with its status.  After it, the answer is torn."""
        if self.is_committed:
            self._state = _State.TORN
        else:
            self.error = error

    def put_nowait(self, data: bytes) -> bool:
        """Hands a piece over; False if there is no room."""
        try:
            self.send.send_nowait(data)
        except trio.WouldBlock:
            return False
        return True

    async def put(self, data: bytes, moved: OnMoved) -> None:
        """Waits for room, and hands a piece over; see `Sink`."""
        self._on_moved = moved
        try:
            await self.send.send(data)
        finally:
            self._on_moved = None

    # -- the client's StreamReply

    async def next(self, write_now: object) -> bytes | None:
        """The next piece of the body; None at the end."""
        try:
            return await self._pieces.receive()
        except trio.EndOfChannel:
            return None

    def moved(self) -> None:
        if self._on_moved is not None:
            self._on_moved()


async def move_passage(attempt: Attempt, request: PassingRequest, passage: Passage) -> None:
    """Passes the answer to `request` into `passage`, to its end.  Raises RouterError, ClientStalled."""
    watchdog, limits, record = attempt.watchdog, attempt.limits, attempt.record

    def on_asked() -> None:
        watchdog.enter("response", limits.response)

    with attempt, await attempt.send(request, on_asked) as response:
        await attempt.check_status(response)
        passage.begin(response)
        used = _Used("" if response.is_encoded else response.header(b"content-type"))
        watchdog.enter("read", limits.read)
        async for data in response:
            now = trio.current_time()
            if record.first_event_at is None:
                attempt.note_first_event(now)
            record.last_read_at = now
            record.bytes_received += len(data)
            used.add(data)
            if not passage.put_nowait(data):
                await attempt.wait_for_client(passage.put, data)
            watchdog.enter("read", limits.read)
        used.book(record)


class _Used:
    """Finds the token usage that a short JSON answer reports."""

    def __init__(self, content_type: str) -> None:
        self._parts: list[bytes] | None = [] if content_type.startswith("application/json") else None
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _READ:
            self._parts = None
        if self._parts is not None:
            self._parts.append(data)

    def book(self, record: RequestRecord) -> None:
        try:
            answer = loads(b"".join(self._parts)) if self._parts else None
        except JSONError:
            return
        if isinstance(answer, dict):
            record.used = passing_usage(answer)
