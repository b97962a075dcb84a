"""An attempt whose answer is streamed: reads from the upstream -> frames for the client.

UpstreamAnswer -> Translator (reader -> taps -> encoder) -> Sink
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_router.dialects.provider_error import own_status
from trio_router.errors import NetworkError, RouterError, StreamError, UpstreamError
from trio_router.relay.call import OpenedAnswer
from trio_router.relay.tally import book_answer

if TYPE_CHECKING:
    from prometheus_client import Histogram

    from trio_router.dialects.answer import AnswerReader
    from trio_router.relay.attempt import Attempt
    from trio_router.relay.call import StreamCall, Translator
    from trio_router.relay.client import UpstreamAnswer
    from trio_router.relay.sinks import Sink

_UNFINISHED = 1 << 18  # bytes: an event up to this long is parsed on the event loop
_LINGER = (
    0.25  # s that a complete answer may take to close its body, so that the connection can be kept
)


async def move_stream(attempt: Attempt, call: StreamCall, sink: Sink) -> None:
    """Moves a stream into `sink`, up to its honest end.  Raises RouterError and ClientStalled."""

    def on_asked() -> None:
        attempt.watchdog.enter("first_event", attempt.limits.first_event)

    with attempt, await attempt.ask(call, on_asked) as response:
        await attempt.check_status(response)
        content_type = response.header(b"content-type")
        retry_after = response.header(b"retry-after") or None
        response.forget_headers()
        opened = OpenedAnswer(attempt.target, attempt.identity, content_type)
        translator = call.translator(opened)
        attempt.record.progress = translator.reader
        sink.begin(translator)
        try:
            await _Pump(attempt, translator, sink, retry_after).run(response)
        finally:
            book_answer(translator.reader, attempt.record, attempt.asked_bytes)


class _Pump:
    """Moves one answer.  `retry_after` is what its head said."""

    _gaps: Histogram

    def __init__(
        self, attempt: Attempt, translator: Translator, sink: Sink, retry_after: str | None
    ) -> None:
        self._attempt = attempt
        self._record = attempt.record
        self._translator = translator
        self._reader: AnswerReader = translator.reader
        self._sink = sink
        self._retry_after = retry_after
        self._last: float | None = None  # of the last read that gave the client something
        self._unfinished = 0  # bytes since the last frames: mostly an event that is not complete yet

    async def run(self, reads: UpstreamAnswer) -> None:
        """Reads the answer to its end.  Raises RouterError and ClientStalled."""
        attempt, reader, said = self._attempt, self._reader, 0
        watchdog, limits = attempt.watchdog, attempt.limits
        clean = True
        try:
            async for data in reads:
                now = trio.current_time()
                self._record.bytes_received += len(data)
                self._unfinished += len(data)
                if self._unfinished <= _UNFINISHED:
                    frames = self._translator.receive_data(data)
                else:
                    frames = await attempt.aside(partial(self._translator.receive_data, data))
                if frames:
                    self._unfinished = 0
                if reader.has_first:
                    self._note_read(now, frames)
                    if not self._hand_over(frames):
                        await attempt.wait_for_client(self._sink.put, frames)
                    if reader.failure is not None:
                        raise self._told(reader.failure)
                    if reader.is_done:
                        self._sink.end()
                        return await self._linger(reads)
                    watchdog.read(limits.read, limits.progress, has_said=reader.said != said)
                    said = reader.said
                    if said > attempt.paid:
                        await attempt.pay(said)
                del data, frames  # otherwise a silent stream would keep them in memory
        except NetworkError:
            if self._last is None:
                raise
            clean = False
        await self._finish(clean=clean)

    async def _finish(self, *, clean: bool) -> None:
        """The body has ended, without a word of the upstream that this is the end."""
        reader = self._reader
        end = partial(self._translator.receive_eof, clean=clean)
        frames = await self._attempt.aside(end) if self._unfinished > _UNFINISHED else end()
        if self._last is None and (frames or reader.failure is None):
            self._attempt.note_first_event(trio.current_time())
        if not self._hand_over(frames):
            await self._attempt.wait_for_client(self._sink.put, frames)
        if reader.failure is not None:
            raise self._told(reader.failure)

    def _note_read(self, now: float, frames: bytes) -> None:
        record = self._record
        if self._last is None:
            if self._reader.failure is not None and not frames:
                raise self._told(self._reader.failure)
            self._attempt.note_first_event(now)
            metrics = self._attempt.metrics
            self._gaps = metrics.of(metrics.labels(record)).gap
        else:
            gap = now - self._last
            self._gaps.observe(gap)
            if gap > record.max_gap:
                record.max_gap = gap
        self._last = record.last_read_at = now

    def _hand_over(self, frames: bytes) -> bool:
        """False if there is no room for `frames`."""
        if not frames:
            if self._reader.failure is None:
                self._sink.commit()
            return True
        self._sink.commit()
        return self._sink.put_nowait(frames)

    def _told(self, fault: UpstreamError) -> UpstreamError:
        """What an answer failed with; if nothing of it has gone out, with the status that it names."""
        if self._attempt.has_answered or not isinstance(fault, StreamError):
            return fault
        return own_status(fault, self._attempt.target.provider, self._retry_after)

    async def _linger(self, reads: UpstreamAnswer) -> None:
        self._attempt.watchdog.rest(_LINGER)
        try:
            async for _ in reads:
                pass
        except RouterError:
            pass  # the answer was complete already
