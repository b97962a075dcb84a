"""Requests that pass through unchanged: the body may be long, the answer is of any kind.

One task of the request's own reads the body from the client as fast as the upstream takes it, and reads
the answer from the upstream as fast as the client takes it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn, cast

import trio

from trio_router.dialects.base import AnswerIdentity
from trio_router.observe.record import Stage
from trio_router.relay.attempt import Attempt
from trio_router.relay.side_calls import WholeCall
from trio_router.wire.jsoncodec import JSONError, loads

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio_router.errors import RouterError
    from trio_router.observe.metrics import Metrics
    from trio_router.observe.record import RequestRecord
    from trio_router.relay.attempt import Sink
    from trio_router.relay.call import Translator
    from trio_router.relay.client import PassingRequest, UpstreamAnswer, UpstreamClient
    from trio_router.routing.target import Target

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


class Passage:
    """An answer on its way; see StreamReply.  `opening` gives the request and its target."""

    tail = b""

    def __init__(self, opening: Opening, buffer: int) -> None:
        self.opening = opening
        self.begun = trio.Event()  # the head has come, or it never will
        self.error: RouterError | None = None  # why it never will
        self.is_committed = False
        self.is_torn = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.send, self._pieces = trio.open_memory_channel[bytes](buffer)

    def head(self, response: UpstreamAnswer) -> None:
        self.status = response.status
        for name in _HEADERS:
            if value := response.header(name):
                self.headers[name.decode()] = value
        response.take_as_it_is()
        if length := response.header(b"content-length"):
            self.headers["content-length"] = length

    # -- the attempt's Sink

    def begin(self, translator: Translator) -> None:
        pass  # nothing is translated

    def commit(self) -> None:
        self.is_committed = True
        self.begun.set()

    def put_nowait(self, frames: bytes) -> bool:
        try:
            self.send.send_nowait(frames)
        except trio.WouldBlock:
            return False
        return True

    async def put(self, frames: bytes) -> None:
        await self.send.send(frames)

    def end(self) -> None:
        pass  # the end of the body is its end

    # -- the client's StreamReply

    async def next(self, write_now: object) -> bytes | None:
        try:
            return await self._pieces.receive()
        except trio.EndOfChannel:
            return None


class PassageCall(WholeCall):
    """The call of a passage.  An attempt uses only a part of Call here."""

    def __init__(self, request: PassingRequest, passage: Passage) -> None:
        super().__init__({})
        self.request = request
        self.passage = passage

    def request_for(self, target: Target) -> NoReturn:
        raise NotImplementedError("this passes as it is")

    def whole(self, target: Target, identity: AnswerIdentity, content_type: str) -> NoReturn:
        raise NotImplementedError("this passes as it is")


class PassageAttempt(Attempt):
    """One passage to one target."""

    def __init__(
        self,
        target: Target,
        client: UpstreamClient,
        call: PassageCall,
        record: RequestRecord,
        metrics: Metrics,
    ) -> None:
        super().__init__(target, client, call, AnswerIdentity("", 0, ""), record, metrics)
        self._passing = call

    async def run(self) -> None:
        """Moves the answer to its end.  Raises RouterError and ClientStalled."""
        await self.stream(self._passing.passage)

    async def _ask(self, on_asked: Callable[[], None] | None = None) -> UpstreamAnswer:
        record = self._record
        return await self._client.send(
            self.target,
            self._passing.request,
            request_id=record.request_id,
            more=record.trace_headers,
            on_admitted=partial(self._note_slot, None),
            on_sent=partial(self._note_sent, on_asked),
        )

    def _await_first_event(self) -> None:
        self._watchdog.enter("response", self._limits.response)

    async def _relay(self, response: UpstreamAnswer, sink: Sink) -> None:
        self._passing.passage.head(response)
        sink.commit()
        used = _Used("" if response.is_encoded else response.header(b"content-type"))
        self._watchdog.enter("read", self._limits.read)
        async for data in response:
            now = trio.current_time()
            if self._record.first_event_at is None:
                self._note_first_event(now)
            self._record.last_read_at = now
            self._record.bytes_received += len(data)
            used.add(data)
            if not sink.put_nowait(data):
                await self._wait_for_client(data, sink)
            self._watchdog.enter("read", self._limits.read)
        used.book(self._record)

    async def _wait_for_client(self, data: bytes, sink: Sink) -> None:
        began = trio.current_time()
        self._watchdog.enter("stall", self._limits.stall)
        self._record.stage = Stage.CLIENT
        try:
            await sink.put(data)
        finally:
            self._record.backpressure += trio.current_time() - began
        self._record.stage = Stage.STREAMING


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
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(usage, dict):
            record.prompt_tokens = _count(usage, "input_tokens", "prompt_tokens")
            record.completion_tokens = _count(usage, "output_tokens", "completion_tokens")


def _count(usage: dict[str, object], *names: str) -> int | None:
    found = (usage[name] for name in names if type(usage.get(name)) is int)
    return cast("int | None", next(found, None))
