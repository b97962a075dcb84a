"""One request's life between the client's side and the upstreams."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import trio

from trio_router.dialects.base import AnswerIdentity
from trio_router.errors import Draining, InternalError, Overloaded, RouterError, UpstreamError
from trio_router.observe.record import Outcome
from trio_router.relay.along_route import RouteRun
from trio_router.relay.attempt import Attempt, ClientStalled
from trio_router.relay.client import trio_seconds
from trio_router.relay.passage import Passage, PassageAttempt, PassageCall
from trio_router.relay.stream import StreamRun
from trio_router.routing.route import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Gauge

    from trio_router.clock.alarms import Alarm
    from trio_router.config.schema import Timeouts
    from trio_router.observe.record import RequestRecord, Tried
    from trio_router.relay.call import Call
    from trio_router.relay.passage import Opening
    from trio_router.relay.stream import StreamReply
    from trio_router.routing.fleet import TargetState
    from trio_router.routing.target import Target
    from trio_router.runtime.router import Router

logger = logging.getLogger("trio_router")


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
        self.router = router
        self._nursery = nursery
        self.record = record
        self._work = trio.CancelScope()
        self._abort_error: RouterError | None = None
        self._open_streams: Gauge | None = None
        self._alarm: Alarm | None = None  # of the stream's silence
        self.sticky: str | None = None  # what keeps this client's requests with one target
        self._state: TargetState | None = None  # of a plain request's target, if a route has it too
        self._attempts: list[RequestRecord] = []  # of a route, while they run
        self._holds_slot = False
        self._detached: StreamRun | None = None  # a stream that runs in the application's nursery
        self._is_open = is_booked  # health checks and scrapes are no requests to be counted
        if is_booked:
            router.exchanges.add(self)
            router.metrics.requests_open.inc()

    # -- what the client's side calls

    async def whole(self, asked: Target | Route, call: Call) -> bytes:
        """The JSON of an answer without streaming.  Raises RouterError."""
        answer = b""
        with self._work:
            await self._admit(asked.timeouts)
            if isinstance(asked, Route):
                self._record_route(asked)
                answer = await RouteRun(self, self.router, asked, call).whole()
            else:
                self._record_target(asked)
                answer = await self._plain_attempt(asked, call).whole()
        if self._abort_error:
            raise self._abort_error
        return answer

    async def stream(self, asked: Target | Route, call: Call) -> StreamReply:
        """A stream whose first event has come.  Raises RouterError if none did."""
        self.record.is_stream = True
        target = asked
        if isinstance(asked, Route):
            self._record_route(asked)
        else:
            self._record_target(asked)
        run = StreamRun(self, asked, call)
        self._nursery_of(run).start_soon(run.move)
        with trio.move_on_after(trio_seconds(target.timeouts.early_commit)):
            await run.begun.wait()
        if run.error:
            raise run.error
        if not run.begun.is_set():
            # The early commit: the status has to have something to go with.
            run.put_nowait(call.keepalive)
        run.promise()
        metrics = self.router.metrics
        self._open_streams = metrics.of(metrics.labels(self.record)).streams_open
        self._open_streams.inc()
        if target.timeouts.keepalive is not None:
            self._alarm = run.bridge_silence(self.router.alarms, target.timeouts.keepalive)
        return run

    async def passage(self, opening: Opening) -> Passage:
        """An answer that passes through as it is, whose head has come.  Raises RouterError.

        `opening` is entered by the task that asks: what it holds lives as long as the asking.
        """
        passage = Passage(opening, self.router.config.stream.buffer)
        self._nursery.start_soon(self._move_passage, passage)
        await passage.begun.wait()
        if passage.error is not None:
            raise passage.error
        return passage

    def client_left(self) -> None:
        """The client's connection is gone; the nursery is about to be cancelled."""
        now = trio.current_time()
        for record in (self.record, *self._attempts):
            record.left_at = now
        self._end_as(Outcome.CLIENT_GONE)
        if self._detached is not None:
            self._detached.leave()

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
        if self._state is not None:
            self._state.failed(error, trio.current_time(), self.record.started_at)
            self._state = None
            self.router.show_state(self.record.provider, self.record.model)
        if isinstance(error, UpstreamError):
            self._end_as(Outcome(error.outcome))
        elif isinstance(error, InternalError):
            self._end_as(Outcome.INTERNAL_ERROR)
        else:
            self._end_as(Outcome.REJECTED)

    def close(self) -> None:
        """Books the request, once, whatever its end was."""
        if not self._is_open:
            return
        self._is_open = False
        self.router.metrics.requests_open.dec()
        self.record.ended_at = trio.current_time()
        if self._holds_slot and self.router.gate is not None:
            self.router.gate.leave()
        is_good = 0 < self.record.status < 400
        self._end_as(Outcome.COMPLETED if is_good else Outcome.REJECTED)
        if self._alarm is not None:
            self._alarm.stop()
        if self._open_streams is not None:
            self._open_streams.dec()
        if self._state is not None and self.record.outcome is Outcome.COMPLETED:
            self._state.succeeded(trio.current_time(), self.record.started_at)
            self.router.show_state(self.record.provider, self.record.model)
        if self._detached is None:
            self._book()
        elif self._detached.is_draining:
            self._detached.discard()
        else:
            self._work.cancel()
        # What is detached is booked when it has ended.

    # -- what a route's attempts call

    @property
    def is_draining(self) -> bool:
        """Whether nobody reads the answer any more, and it is only let come to its end."""
        return self._detached is not None and self._detached.is_draining

    def attempt(
        self, target: Target, call: Call, record: RequestRecord, *, is_impatient: bool = False
    ) -> Attempt:
        """An attempt that counts in `record`."""
        identity = AnswerIdentity(
            f"chatcmpl-{record.request_id.removeprefix('req_')}", int(time.time()), target.name
        )
        client = self.router.clients[target.provider]
        return Attempt(
            target, client, call, identity, record, self.router.metrics, is_impatient=is_impatient
        )

    def begin(self, target: Target, record: RequestRecord) -> None:
        """An attempt of the route begins, which counts in `record`."""
        self._attempts.append(record)
        self.record.running = record
        self.record.attempts += 1
        if self.record.first_event_at is None:
            self._record_target(target)

    def answered_by(self, target: Target, now: float) -> None:
        self._record_target(target)
        if self.record.first_event_at is None:
            self.record.first_event_at = now

    def end(self, record: RequestRecord, tried: Tried) -> None:
        self._attempts.remove(record)
        if self.record.running is record:
            self.record.running = self._attempts[-1] if self._attempts else None
        self.record.tried.append(tried)
        self.record.add(record)

    # -- inside

    def _plain_attempt(self, target: Target, call: Call) -> Attempt:
        self.record.attempts += 1
        self._state = self.router.fleet.targets.get(target.name)
        return self.attempt(target, call, self.record)

    async def _admit(self, limits: Timeouts) -> None:
        gate = self.router.gate
        if gate is None:
            return
        refusal = "the router has too many open requests"
        if not await gate.enter(trio_seconds(limits.pool), refusal):
            raise Overloaded(refusal, retry_after="1")
        self._holds_slot = True

    def _nursery_of(self, run: StreamRun) -> trio.Nursery:
        nursery = self.router.nursery
        if run.drain is None or nursery is None:
            return self._nursery
        self._detached = run
        return nursery

    def _book(self) -> None:
        self.router.exchanges.discard(self)
        self.router.booked(self.record)

    def _record_route(self, route: Route) -> None:
        if route.is_own:
            self.record.route = self.record.model = route.name

    def _record_target(self, target: Target) -> None:
        self.record.provider = target.provider
        self.record.model = target.model
        self.record.is_listed = target.is_listed

    def _end_as(self, outcome: Outcome) -> None:
        # The first cause is the true one: what follows from it must not overwrite it.
        if self.record.outcome is None:
            self.record.outcome = outcome

    async def move_stream(self, run: StreamRun) -> None:
        """Moves the stream; every fault of it ends in `run.fail`."""
        if error := await self._fault_of(lambda: self._move(run)):
            run.fail(error)

    async def _move(self, run: StreamRun) -> None:
        await self._admit(run.asked.timeouts)
        if isinstance(run.asked, Route):
            await RouteRun(self, self.router, run.asked, run.call).stream(run)
        else:
            await self._plain_attempt(run.asked, run.call).stream(run)

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
            await self._admit(target.timeouts)
            self.record.attempts += 1
            client, metrics = self.router.clients[target.provider], self.router.metrics
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
            return error.bare()
        except ClientStalled:
            self.client_stalled()
        except Exception:
            request_id = self.record.request_id
            logger.exception("a stream failed", extra={"fields": {"request_id": request_id}})
            return InternalError(f"internal error; request id {request_id}")
        return None

    def stream_ended(self) -> None:
        """The stream's task is at its end."""
        if self._detached is not None:
            self._detached = None
            if not self._is_open:
                self._book()

    def drain_within(self, seconds: float) -> None:
        """The upstream may go on for so long."""
        self._work.deadline = trio.current_time() + seconds
