"""One attempt at one target: open, read and close its answer, in one task, under one watchdog."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from trio_router.dialects.provider_error import answer_error, own_status
from trio_router.errors import (
    EventTooLarge,
    LastingFault,
    NetworkError,
    RouterError,
    StreamError,
    UpstreamError,
    UpstreamTimeout,
)
from trio_router.observe.failure import kind_of, text_of
from trio_router.observe.record import Stage, Try
from trio_router.relay.heavy import in_slices
from trio_router.relay.watchdog import Watchdog
from trio_router.wire.jsoncodec import is_heavy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from trio_router.dialects.answer import AnswerReader
    from trio_router.dialects.base import AnswerIdentity
    from trio_router.observe.metrics import Metrics
    from trio_router.observe.record import RequestRecord
    from trio_router.relay.call import Call, Translator
    from trio_router.relay.client import UpstreamAnswer, UpstreamClient
    from trio_router.routing.target import Target

T = TypeVar("T")
_ERROR_BODY = 65536  # bytes of an error answer that are read; its message is at its beginning
_SECRET = 8  # characters: the value of most headers that is shorter is no secret
_SHORTEST = 4  # that a key has
_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
_BYTES_A_TOKEN = 4  # of a request: a rough guess, where the upstream does not tell
_JOINED = 1 << 20  # bytes of an answer up to which the loop itself puts it together
_UNFINISHED = 1 << 18  # bytes of an event up to which the loop itself reads it
_LINGER = (
    0.25  # s that an answer which has said all may take to end, so that its connection can be kept
)


class ClientStalled(Exception):
    """The client took nothing for `stall` seconds although there was something for it."""


class Sink(Protocol):
    """Where a stream's frames go."""

    def begin(self, translator: Translator) -> None:
        """The frames to come are `translator`'s, who also knows how to end them badly."""

    def commit(self) -> None:
        """The first event that says something is there: the client is promised an answer."""

    def put_nowait(self, frames: bytes) -> bool:
        """Hands frames over; False if there is no room."""

    async def put(self, frames: bytes) -> None:
        """Waits for room, and hands frames over."""

    def end(self) -> None:
        """The whole answer has been handed over: no error can follow it."""


class Attempt:
    """What both kinds of attempt share: the watchdog, the record, and how an answer is opened."""

    def __init__(
        self,
        target: Target,
        client: UpstreamClient,
        call: Call,
        identity: AnswerIdentity,
        record: RequestRecord,
        metrics: Metrics,
        *,
        is_impatient: bool = False,
    ) -> None:
        self.target = target
        self._is_impatient = is_impatient  # `first_event` counts from the beginning, not from on_sent
        self._call = call
        self._client = client
        self._identity = identity
        self._record = record
        self._metrics = metrics
        self._open_upstreams = metrics.of(metrics.labels(record)).upstreams_open
        self._limits = target.timeouts
        self._watchdog = Watchdog(self._limits.total)
        self._asked_bytes = 0
        self._is_whole = False  # the whole stream has been handed over
        self._retry_after: str | None = None  # what a stream's head says
        self._try = Try(target.provider, target.model, trio.current_time())
        record.tries.append(self._try)
        record.stage = Stage.QUEUED

    async def whole(self) -> bytes:
        """The client's JSON for an answer without streaming.  Raises RouterError."""
        answer = b""
        with _Running(self):
            self._watchdog.enter("response", self._limits.response)
            with await self._ask() as response:
                await self._check_status(response)
                limit = self._call.max_answer or self.target.rules.max_event
                raw = await self._read(response, limit, strict=True)
                translate = partial(self._translate, response, raw)
                try:
                    answer = await self._aside(translate) if is_heavy(raw) else translate()
                except StreamError as fault:
                    raise own_status(
                        fault, self.target.provider, response.header(b"retry-after") or None
                    ) from None
        return answer

    async def stream(self, sink: Sink) -> None:
        """Moves a stream into `sink`, up to its honest end.  Raises RouterError and ClientStalled."""
        with _Running(self), await self._ask(self._await_first_event) as response:
            await self._check_status(response)
            await self._relay(response, sink)

    async def _ask(self, on_asked: Callable[[], None] | None = None) -> UpstreamAnswer:
        build = partial(self._call.request_for, self.target)
        request = await self._aside(build) if self._call.is_heavy else build()
        self._asked_bytes = len(request.body)
        record = self._record
        early, late = (on_asked, None) if self._is_impatient else (None, on_asked)
        return await self._client.ask(
            self.target,
            request,
            request_id=record.request_id,
            more=record.trace_headers,
            on_admitted=partial(self._note_slot, early),
            on_sent=partial(self._note_sent, late),
        )

    async def _aside(self, work: Callable[[], T]) -> T:
        """`in_slices`; the time that it takes is ours, and no limit of the upstream's counts it."""
        left = self._watchdog.pause()
        try:
            return await in_slices(work)
        finally:
            self._watchdog.go_on(left)

    def _note_slot(self, then: Callable[[], None] | None) -> None:
        self._record.stage = Stage.CONNECTING
        if then is not None:
            then()

    def _note_sent(self, then: Callable[[], None] | None) -> None:
        self._record.stage = Stage.FIRST_EVENT
        self._try.sent_at = trio.current_time()
        if then is not None:
            then()

    def _note_first_event(self, now: float) -> None:
        record = self._record
        record.stage = Stage.STREAMING
        record.first_event_at = record.last_read_at = self._try.first_event_at = now

    async def _relay(self, response: UpstreamAnswer, sink: Sink) -> None:
        content_type = response.header(b"content-type")
        self._retry_after = response.header(b"retry-after") or None
        response.forget_headers()
        translator = self._call.translator(self.target, self._identity, content_type)
        reader = self._record.progress = translator.reader
        sink.begin(translator)
        try:
            await self._pump(response, translator, sink)
        finally:
            self._book(reader)

    async def _pump(self, reads: UpstreamAnswer, translator: Translator, sink: Sink) -> None:
        reader, record = translator.reader, self._record
        last: float | None = None
        clean = True
        said = 0
        unfinished = 0  # bytes since the last frames: an event that is still coming, mostly
        try:
            async for data in reads:
                now = trio.current_time()
                record.bytes_received += len(data)
                unfinished += len(data)
                if unfinished <= _UNFINISHED:
                    frames = translator.receive_data(data)
                else:
                    frames = await self._aside(partial(translator.receive_data, data))
                if frames:
                    unfinished = 0
                if reader.has_first:
                    if last is None:
                        if reader.failure is not None and not frames:
                            raise self._told(reader.failure)
                        self._note_first_event(now)
                        gaps = self._metrics.of(self._metrics.labels(record)).gap
                    else:
                        gap = now - last
                        gaps.observe(gap)
                        if gap > record.max_gap:
                            record.max_gap = gap
                    last = record.last_read_at = now
                    await self._hand_over(frames, sink, reader)
                    if reader.is_done:
                        sink.end()
                        self._is_whole = True
                        return await self._linger(reads)
                    limits = self._limits
                    self._watchdog.read(limits.read, limits.progress, has_said=reader.said != said)
                    said = reader.said
                del data, frames  # or a silent stream would keep them
        except NetworkError:
            if last is None:
                raise
            clean = False
        end = partial(translator.receive_eof, clean=clean)
        frames = await self._aside(end) if unfinished > _UNFINISHED else end()
        if last is None and (frames or reader.failure is None):
            self._note_first_event(trio.current_time())
        await self._hand_over(frames, sink, reader)

    async def _hand_over(self, frames: bytes, sink: Sink, reader: AnswerReader) -> None:
        if reader.failure is None or frames:
            sink.commit()
        if frames and not sink.put_nowait(frames):
            began = trio.current_time()
            self._watchdog.enter("stall", self._limits.stall)
            self._record.stage = Stage.CLIENT
            try:
                await sink.put(frames)
            finally:
                waited = trio.current_time() - began
                self._record.backpressure += waited
                self._watchdog.excuse(waited)
            self._record.stage = Stage.STREAMING
        if reader.failure is not None:
            raise self._told(reader.failure)

    def _told(self, fault: UpstreamError) -> UpstreamError:
        """What an answer failed with; if nothing of it has gone out, with the status that it names."""
        if self._try.first_event_at is not None or not isinstance(fault, StreamError):
            return fault
        return own_status(fault, self.target.provider, self._retry_after)

    async def _linger(self, reads: UpstreamAnswer) -> None:
        self._watchdog.rest()
        with trio.move_on_after(_LINGER):
            try:
                async for _ in reads:
                    pass
            except RouterError:
                pass  # the answer was whole already

    def _await_first_event(self) -> None:
        self._watchdog.enter("first_event", self._limits.first_event)

    async def _check_status(self, response: UpstreamAnswer) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        provider = self.target.provider
        if status < 400:
            raise LastingFault(f"{provider} answered with a redirect ({status})")
        body = await self._read(response, _ERROR_BODY, strict=False)
        raise answer_error(provider, status, body, response.header(b"retry-after") or None)

    async def _read(self, response: UpstreamAnswer, limit: int, *, strict: bool) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for data in response:
            if strict and self._record.first_event_at is None:
                self._note_first_event(trio.current_time())
            self._record.bytes_received += len(data)
            parts.append(data)
            size += len(data)
            if size > limit:
                if strict:
                    raise EventTooLarge(f"the upstream's answer has more than {limit} bytes")
                break
        if size > _JOINED:
            return (await self._aside(partial(b"".join, parts)))[:limit]
        return b"".join(parts)[:limit]

    def _translate(self, response: UpstreamAnswer, raw: bytes) -> bytes:
        content_type = response.header(b"content-type")
        whole = self._call.whole(self.target, self._identity, content_type)
        try:
            return whole.translate(raw)
        finally:
            self._book(whole.reader)

    def _book(self, reader: AnswerReader) -> None:
        record = self._record
        record.progress = None
        record.format = reader.format or record.format
        record.chunks_processed += reader.events
        record.chunks_failed += reader.events_failed
        record.unicode_errors += reader.unicode_errors
        record.json_errors += reader.json_errors
        if reader.usage:
            record.prompt_tokens = _count(reader.usage, "prompt_tokens")
            record.completion_tokens = _count(reader.usage, "completion_tokens")
        elif reader.failure is not None and not reader.said:
            return  # nothing was written, as far as anybody knows
        elif events := reader.events - isinstance(reader.failure, StreamError):
            record.prompt_tokens = self._asked_bytes // _BYTES_A_TOKEN
            record.completion_tokens = events
            record.is_estimated = True

    def _note_release(self) -> None:
        if self._record.left_at is not None:
            self._metrics.released(self._record, trio.current_time() - self._record.left_at)

    def _note_failure(self, error: RouterError) -> None:
        self._try.error = kind_of(error)
        self._try.error_text = text_of(error)

    def _without_secrets(self, message: str) -> str:
        for name, secret in self.target.headers.items():
            bare = secret.rpartition(" ")[2]
            if len(bare) >= _SECRET:
                # A provider that hides the middle of a key still shows how it begins.
                begun = re.escape(bare[:_SECRET]) + r"[^\s\"'`,;)\]}<]*"
                message = re.sub(begun, "***", message.replace(bare, "***"))
            elif name in _CREDENTIALS and len(bare) >= _SHORTEST:
                message = message.replace(bare, "***")
        return message


class _Running:
    """Counts an attempt as an open upstream, and says which limit ended it, if one did."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._attempt._open_upstreams.inc()
        self._attempt._watchdog.scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        attempt = self._attempt
        watchdog = attempt._watchdog
        try:
            watchdog.scope.__exit__(kind, fault, trace)
        finally:
            attempt._open_upstreams.dec()
            attempt._note_release()
            attempt._try.ended_at = trio.current_time()
        if watchdog.scope.cancelled_caught:
            if attempt._is_whole:
                return True  # the limit was reached in the moment in which the answer came
            if watchdog.phase == "stall":
                raise ClientStalled
            late = UpstreamTimeout(attempt.target.provider, watchdog.phase, watchdog.limit)
            attempt._note_failure(late)
            raise late
        if isinstance(fault, RouterError):
            fault.message = attempt._without_secrets(fault.message)
            attempt._note_failure(fault)
        return False


def _count(usage: dict[str, object], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
