"""One request's life between the client's side and the upstreams."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Protocol

import trio

from trio_router.dialects.base import AnswerIdentity
from trio_router.errors import Draining, InternalError, RouterError, UpstreamError
from trio_router.record import Outcome
from trio_router.relay.attempt import Attempt, ClientStalled
from trio_router.relay.client import trio_seconds
from trio_router.relay.passage import Passage, PassageAttempt, PassageCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Gauge

    from trio_router.alarms import Alarm, AlarmClock
    from trio_router.record import RequestRecord
    from trio_router.relay.call import Call
    from trio_router.relay.passage import Opening
    from trio_router.relay.router import Router
    from trio_router.routing.table import Target

    WriteNow = Callable[[bytes], bytes | None]

logger = logging.getLogger("trio_router")
_JOIN = 65536  # bytes: frames that wait already go out in one write, up to about this


class StreamReply(Protocol):
    """A stream that has begun, as the client's side takes it."""

    is_torn: bool  # it has ended badly, and nothing that could follow would say so
    tail: bytes  # what follows the frames once they end: the error event of a bad end, or nothing

    async def next(self, write_now: WriteNow) -> bytes | None:
        """Finished frames, all that wait joined; None at the end.

        While it waits for some, those that come are given to `write_now`, which says what it left
        (`None` for nothing): a scheduler's pass is saved, and nothing can be overtaken.
        """


class Exchange:
    """Serves one request: resolves the model, asks the upstream, remembers what happened.

    A stream is moved by a task in `nursery`, the request's own: when the client leaves, the nursery is
    cancelled, and the upstream is closed by the `async with` that opened it.
    """

    def __init__(
        self,
        router: Router,
        nursery: trio.Nursery,
        record: RequestRecord,
        *,
        is_booked: bool = True,
    ) -> None:
        self._router = router
        self._nursery = nursery
        self.record = record
        self._work = trio.CancelScope()
        self._abort_error: RouterError | None = None
        self._open_streams: Gauge | None = None
        self._alarm: Alarm | None = None  # of the stream's silence
        self._is_open = is_booked  # health checks and scrapes are no requests to be counted
        if is_booked:
            router.exchanges.add(self)
            router.metrics.requests_open.inc()

    # -- what the client's side calls

    async def whole(self, target: Target, call: Call) -> bytes:
        """The JSON of an answer without streaming.  Raises RouterError."""
        answer = b""
        with self._work:
            self._record_target(target)
            answer = await self._attempt(target, call).whole()
        if self._abort_error:
            raise self._abort_error
        return answer

    async def stream(self, target: Target, call: Call) -> StreamReply:
        """A stream whose first event has come.  Raises RouterError if none did."""
        self.record.is_stream = True
        self._record_target(target)
        run = _StreamRun(self, target, call)
        self._nursery.start_soon(run.move)
        with trio.move_on_after(trio_seconds(target.timeouts.early_commit)):
            await run.begun.wait()
        if run.error:
            raise run.error
        if not run.begun.is_set():
            # The early commit: the status has to have something to go with.
            run.put_nowait(call.keepalive)
        run.commit()
        metrics = self._router.metrics
        self._open_streams = metrics.of(metrics.labels(self.record)).streams_open
        self._open_streams.inc()
        if target.timeouts.keepalive is not None:
            self._alarm = run.bridge_silence(self._router.alarms, target.timeouts.keepalive)
        return run

    async def passage(self, opening: Opening) -> Passage:
        """An answer that passes through as it is, whose head has come.  Raises RouterError.

        `opening` is entered by the task that asks: what it holds lives as long as the asking.
        """
        passage = Passage(opening, self._router.config.stream.buffer)
        self._nursery.start_soon(self._move_passage, passage)
        await passage.begun.wait()
        if passage.error is not None:
            raise passage.error
        return passage

    def client_left(self) -> None:
        """The client's connection is gone; the nursery is about to be cancelled."""
        self.record.left_at = trio.current_time()
        self._end_as(Outcome.CLIENT_GONE)

    def client_stalled(self) -> None:
        """The client takes nothing: the whole request is given up."""
        self._end_as(Outcome.CLIENT_STALLED)
        self._nursery.cancel_scope.cancel()

    def abort(self, error: RouterError, outcome: Outcome) -> None:
        """Ends the request with `error`, as an answer or in the stream, and releases its upstream."""
        if self._abort_error is None:
            self._abort_error = error
            self._end_as(outcome)
            self._work.cancel()

    def failed(self, error: RouterError) -> None:
        """`error` is what the client is told."""
        self.record.error_code = error.code or None
        if isinstance(error, UpstreamError):
            self._end_as(Outcome(error.outcome))
        elif isinstance(error, InternalError):
            self._end_as(Outcome.INTERNAL_ERROR)
        else:
            self._end_as(Outcome.REJECTED)

    def answered(self) -> None:
        """The answer is out to its end: a client that leaves now has missed nothing."""
        is_good = 0 < self.record.status < 400
        self._end_as(Outcome.COMPLETED if is_good else Outcome.REJECTED)

    def close(self) -> None:
        """Books the request, once, whatever its end was."""
        if not self._is_open:
            return
        self._is_open = False
        self._router.exchanges.discard(self)
        self._router.metrics.requests_open.dec()
        self.record.ended_at = trio.current_time()
        self.answered()
        if self._alarm is not None:
            self._alarm.stop()
        if self._open_streams is not None:
            self._open_streams.dec()
        self._router.booked(self.record)

    # -- inside

    def _attempt(self, target: Target, call: Call) -> Attempt:
        self.record.attempts += 1
        identity = AnswerIdentity(
            f"chatcmpl-{self.record.request_id.removeprefix('req_')}", int(time.time()), target.name
        )
        client = self._router.clients[target.provider]
        return Attempt(target, client, call, identity, self.record, self._router.metrics)

    def _record_target(self, target: Target) -> None:
        self.record.provider = target.provider
        self.record.model = target.model
        self.record.is_listed = target.is_listed

    def _end_as(self, outcome: Outcome) -> None:
        # The first cause is the true one: what follows from it must not overwrite it.
        if self.record.outcome is None:
            self.record.outcome = outcome

    async def move_stream(self, run: _StreamRun) -> None:
        """Moves the stream; every fault of it ends in `run.fail`."""
        if error := await self._fault_of(lambda: self._attempt(run.target, run.call).stream(run)):
            run.fail(error)

    async def _move_passage(self, passage: Passage) -> None:
        with passage.send:
            error = await self._fault_of(lambda: self._pass(passage))
            if error is not None and passage.is_committed:
                self.failed(error)
                passage.is_torn = True
            else:
                passage.error = error
            passage.begun.set()

    async def _pass(self, passage: Passage) -> None:
        async with passage.opening() as (target, request):
            self._record_target(target)
            self.record.attempts += 1
            client, metrics = self._router.clients[target.provider], self._router.metrics
            call = PassageCall(request, passage)
            await PassageAttempt(target, client, call, self.record, metrics).run()

    async def _fault_of(self, work: Callable[[], Awaitable[None]]) -> RouterError | None:
        """Does `work`, of which nothing is raised; the error that the client is to be told of."""
        try:
            with self._work:
                await work()
            if self._work.cancelled_caught:
                return self._abort_error or Draining("the router is shutting down")
        except RouterError as error:
            return error
        except ClientStalled:
            self.client_stalled()
        except Exception:
            request_id = self.record.request_id
            logger.exception("a stream failed", extra={"fields": {"request_id": request_id}})
            return InternalError(f"internal error; request id {request_id}")
        return None


class _StreamRun:
    """A stream on its way: the channel between the upstream's task and the client's."""

    is_torn = False

    def __init__(self, exchange: Exchange, target: Target, call: Call) -> None:
        self._exchange = exchange
        self.target = target
        self.call = call
        self.begun = trio.Event()  # the first event is there, or it is known that none will be
        self.error: RouterError | None = None  # why there will be none
        self._is_committed = False
        self._has_ended = False
        self.tail = b""
        buffer = exchange._router.config.stream.buffer
        self._send, self._frames = trio.open_memory_channel[bytes](buffer)
        self._write_now: WriteNow | None = None
        self._record = exchange.record
        self._taken = 0  # bytes that the client's side is writing
        self._keepalive = math.inf
        self._alarm: Alarm | None = None

    async def move(self) -> None:
        with self._send:
            await self._exchange.move_stream(self)
            self._has_ended = True
            self.begun.set()

    def fail(self, error: RouterError) -> None:
        """Before the commit `error` becomes the answer's status, after it the stream's last event."""
        if self._is_committed:
            self._exchange.failed(error)
            self.tail = self.call.fail(error)
        else:
            self.error = error

    def bridge_silence(self, alarms: AlarmClock, keepalive: float) -> Alarm:
        """A comment to the client after each `keepalive` seconds without an event."""
        self._keepalive = keepalive
        self._alarm = alarms.alarm(self._comment)
        self._postpone()
        return self._alarm

    def _comment(self) -> None:
        # Only to a client that waits: if frames wait, it is the client who is silent.
        if self._write_now is not None and not self._has_ended:
            self.put_nowait(self.call.keepalive)
        self._postpone()

    def _postpone(self) -> None:
        if self._alarm is not None:
            self._alarm.set(trio.current_time() + self._keepalive)

    # -- the attempt's Sink

    def commit(self) -> None:
        if not self._is_committed:
            self._is_committed = True
            self.call.forget()
            self.begun.set()

    def put_nowait(self, frames: bytes) -> bool:
        if self._write_now is not None:
            left = self._write_now(frames)
            if left is None:
                self._postpone()
                return True
            self._write_now = None
            frames = left
        try:
            self._send.send_nowait(frames)
        except trio.WouldBlock:
            return False
        self._record.bytes_waiting += len(frames)
        self._postpone()
        return True

    async def put(self, frames: bytes) -> None:
        self._record.bytes_waiting += len(frames)
        await self._send.send(frames)
        self._postpone()

    # -- the client's StreamReply

    async def next(self, write_now: WriteNow) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        self._record.bytes_waiting -= self._taken
        self._taken = 0
        try:
            while size < _JOIN:
                parts.append(self._frames.receive_nowait())
                size += len(parts[-1])
        except (trio.EndOfChannel, trio.WouldBlock):
            pass
        if parts:
            self._taken = size
            return b"".join(parts)
        self._write_now = write_now
        try:
            frames = await self._frames.receive()
            self._taken = len(frames)
            return frames
        except trio.EndOfChannel:
            return None
        finally:
            self._write_now = None
