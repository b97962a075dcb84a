"""One request's life between client and upstreams: which target is asked, and in which task.

`books` keeps its outcome; `engine` is all of the router that it may touch.
"""

from __future__ import annotations

import logging
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_router.dialects.base import AnswerIdentity
from trio_router.errors import ClientStalled, Draining, InternalError, Overloaded, RouterError
from trio_router.observe.record import Outcome
from trio_router.relay.along_route import RouteRun
from trio_router.relay.attempt import Attempt
from trio_router.relay.books import Books
from trio_router.relay.client import trio_seconds
from trio_router.relay.passage import Passage, move_passage
from trio_router.relay.pump import move_stream
from trio_router.relay.stream import StreamRun
from trio_router.relay.whole import whole_answer
from trio_router.routing.affinity import NO_AFFINITY
from trio_router.routing.route import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.clock.alarms import Alarm
    from trio_router.config.routes import DrainConfig
    from trio_router.config.schema import Timeouts
    from trio_router.observe.record import RequestRecord
    from trio_router.policy.permit import Permit
    from trio_router.relay.call import HubCall, WholeCall
    from trio_router.relay.engine import Engine, Upstreams
    from trio_router.relay.gate import Gate
    from trio_router.relay.passage import Opening
    from trio_router.relay.stream import StreamReply
    from trio_router.relay.tasks import RequestTasks
    from trio_router.routing.target import Target

logger = logging.getLogger("trio_router")


_LEAVING = "the router is shutting down"


class _Phase(Enum):
    """How far a request is on its way to being booked."""

    UNCOUNTED = "uncounted"  # a health check or a scrape: it is never booked
    OPEN = "open"
    CLOSED = "closed"  # the client's side has ended; the upstream may still run
    BOOKED = "booked"


class Exchange:
    """Serves one request: asks the upstream, moves the answer.

    A stream is moved by one of `tasks`, the request's own: when the client leaves, they are cancelled,
    and the upstream is closed by the `async with` that opened it.
    """

    def __init__(
        self,
        engine: Engine,
        upstreams: Upstreams,
        tasks: RequestTasks,
        record: RequestRecord,
        *,
        is_booked: bool = True,
    ) -> None:
        self.record = record
        self.affinity = NO_AFFINITY  # what the request has in common with others on its route
        self.permit: Permit | None = None  # what it has drawn of limits and budgets
        # How a request that passes through gets its permit, once its target is known.
        self.admission: Callable[[Target], Awaitable[None]] | None = None
        self._engine = engine
        self._upstreams = upstreams
        self._tasks = tasks
        self._books = Books(record, engine, upstreams)
        self._work = trio.CancelScope()
        self._aborted: tuple[RouterError, Outcome] | None = None
        self._alarm: Alarm | None = None  # rings when the stream is silent
        self._gate: Gate | None = None  # the gate in which it holds a slot
        # A stream that runs in the router's nursery, and how long it may outlive its client.
        self._detached: tuple[StreamRun, DrainConfig] | None = None
        self._phase = _Phase.OPEN if is_booked else _Phase.UNCOUNTED
        if is_booked:
            upstreams.enter()
            engine.began(self)

    # -- what the client's side calls

    async def whole(self, asked: Target | Route, call: WholeCall) -> bytes:
        """The JSON of an answer without streaming.  Raises RouterError."""
        answer: bytes | None = None
        with self._work:
            await self._admit(asked.timeouts)
            if isinstance(asked, Route):
                self._books.asks_route(asked)
                answer = await self._along(asked).whole(call)
            else:
                self._books.asks_target(asked)
                answer = await whole_answer(self._plain_attempt(asked), call)
        if answer is None:
            error = self._abort_fault()
            self._note_abort(error)
            raise error
        return answer

    async def stream(self, asked: Target | Route, call: HubCall) -> StreamReply:
        """A stream whose first event has come, or whose status goes out early (`early_commit`).

        Raises RouterError if no event came.
        """
        self.record.is_stream = True
        if isinstance(asked, Route):
            self._books.asks_route(asked)
        else:
            self._books.asks_target(asked)
        keeps_request = isinstance(asked, Route) and asked.keeps_request
        run = StreamRun(self.record, call, self._upstreams.stream.buffer, keeps_request=keeps_request)
        nursery = await self._nursery_of(run, asked)
        nursery.start_soon(self._run_stream, run, asked, call)
        if asked.timeouts.early_commit is None:
            await run.begun.wait()
        else:
            with trio.move_on_after(asked.timeouts.early_commit):
                await run.begun.wait()
        if run.error:
            raise run.error
        if not run.begun.is_set():
            # The early commit: the status goes out together with a keepalive comment.
            run.put_nowait(call.keepalive)
        run.promise()
        self._books.stream_began()
        if asked.timeouts.keepalive is not None:
            self._alarm = run.bridge_silence(self._engine.alarms, asked.timeouts.keepalive)
        return run

    async def passage(self, opening: Opening) -> Passage:
        """An answer that passes through unchanged, once its head has come.  Raises RouterError.

        `opening` is entered by the task that asks the upstream, and left when the answer has ended.
        """
        passage = Passage(opening, self._upstreams.stream.buffer)
        nursery = await self._tasks.nursery()
        nursery.start_soon(self._run_passage, passage)
        await passage.begun.wait()
        if passage.error is not None:
            raise passage.error
        return passage

    def client_left(self) -> None:
        """The client's connection is gone; its tasks are about to be cancelled."""
        self._note_abort(self._abort_fault())
        self._books.client_left()
        if self._detached is not None:
            self._drain(*self._detached)

    def client_stalled(self) -> None:
        """The client takes nothing: cancels the whole request."""
        self._books.end_as(Outcome.CLIENT_STALLED)
        self._tasks.cancel()

    def abort(self, error: RouterError, outcome: Outcome) -> None:
        """Ends the request with `error`, as an answer or in the stream, and releases its upstream.

        A client that has its whole answer by then is told nothing: the request keeps its outcome.
        """
        if self._aborted is None:
            self._aborted = error, outcome
            self._work.cancel()

    def uncount(self) -> None:
        """It turns out to be no request to a model: it is never booked."""
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.UNCOUNTED
            self._engine.withdrew(self)
            self._upstreams.leave()

    def failed(self, error: RouterError) -> None:
        """Notes that the client is told `error`."""
        self._books.failed(error)

    def close(self) -> None:
        """The client's side has ended.  The request is booked once, whatever its outcome.

        A stream that outlives its client is booked when it has ended.
        """
        if self._phase is not _Phase.OPEN:
            return
        self._phase = _Phase.CLOSED
        self._engine.metrics.requests_open.dec()
        if self._gate is not None:
            self._gate.leave()
        if not self.record.status:
            self._note_abort(self._abort_fault())
        self._books.close()
        if self._alarm is not None:
            self._alarm.stop()
        if self._detached is None:
            self._book()
        elif self._detached[0].is_draining:
            self._detached[0].discard()
        else:
            self._work.cancel()

    # -- one attempt, or a route's run of them

    async def _admit(self, limits: Timeouts) -> None:
        gate = self._engine.gate
        if gate is None:
            return
        refusal = "the router has too many open requests"
        if not await gate.enter(trio_seconds(limits.pool), refusal):
            raise Overloaded(refusal, retry_after="1")
        if self._phase is _Phase.CLOSED or self._phase is _Phase.BOOKED:
            gate.leave()  # the client left before the stream's task began: `close` has been
            return
        self._gate = gate  # a new configuration may have another

    def _along(self, route: Route) -> RouteRun:
        return RouteRun(
            self._books, self._engine, self._upstreams, route, self._route_attempt, self.affinity
        )

    def _route_attempt(self, target: Target, record: RequestRecord) -> Attempt:
        return self._attempt(target, record, is_impatient=True)

    def _plain_attempt(self, target: Target) -> Attempt:
        self._books.plain_attempt(target)
        return self._attempt(target, self.record)

    def _attempt(self, target: Target, record: RequestRecord, *, is_impatient: bool = False) -> Attempt:
        """An attempt that counts in `record`."""
        identity = AnswerIdentity(
            f"chatcmpl-{record.request_id.removeprefix('req_')}",
            int(self._engine.clock.wall()),
            target.name,
            partial(_since, self.record.started_at),
        )
        client, metrics = self._upstreams.clients[target.provider], self._engine.metrics
        prices = self._upstreams.prices
        return Attempt(
            target,
            client,
            identity,
            record,
            metrics,
            is_impatient=is_impatient,
            prices=prices,
            permit=self.permit,
        )

    # -- the task of a stream

    async def _nursery_of(self, run: StreamRun, asked: Target | Route) -> trio.Nursery:
        nursery, limits = self._engine.nursery, _drain_of(asked)
        if limits is None or nursery is None:
            return await self._tasks.nursery()
        self._detached = run, limits
        return nursery

    async def _run_stream(self, run: StreamRun, asked: Target | Route, call: HubCall) -> None:
        """The stream's task, to its end; every fault of it ends in `run.fail`."""
        try:
            with run.sending():
                if error := await self._fault_of(lambda: self._move(run, asked, call)):
                    run.fail(error)
                    if not run.is_whole:
                        self._note_abort(error)
                    if run.is_promised and not run.is_whole:
                        self._books.failed(error)
        finally:
            if run.is_draining:
                self._engine.drains -= 1
            self._stream_ended()

    async def _move(self, run: StreamRun, asked: Target | Route, call: HubCall) -> None:
        await self._admit(asked.timeouts)
        if isinstance(asked, Route):
            await self._along(asked).stream(call, run)
        else:
            await move_stream(self._plain_attempt(asked), call, run)

    def _drain(self, run: StreamRun, limits: DrainConfig) -> None:
        """The client has left: lets the upstream finish, unless too many of them do so already."""
        if run.has_begun and self._engine.drains < limits.max:
            run.drain()
            self._engine.drains += 1
            self._work.deadline = trio.current_time() + limits.seconds

    def _stream_ended(self) -> None:
        if self._detached is not None:
            self._detached = None
            if self._phase is _Phase.CLOSED:
                self._book()

    # -- the task of a passage

    async def _run_passage(self, passage: Passage) -> None:
        with passage.send:
            if error := await self._fault_of(lambda: self._pass(passage)):
                self._note_abort(error)
                if passage.is_committed:
                    self._books.failed(error)
                passage.fail(error)
            passage.begun.set()

    async def _pass(self, passage: Passage) -> None:
        async with passage.opening() as (target, request):
            self._books.asks_target(target)
            if self.admission is not None:
                await self.admission(target)
            await self._admit(target.timeouts)
            self.record.attempts += 1
            await move_passage(self._attempt(target, self.record), request, passage)

    # -- how both end

    def _note_abort(self, error: RouterError) -> None:
        """If `error`, which the client is told, is that of the abort, then this is how it ended."""
        if self._aborted is not None and error is self._aborted[0]:
            self._books.end_as(self._aborted[1])

    def _abort_fault(self) -> RouterError:
        return self._aborted[0] if self._aborted is not None else Draining(_LEAVING)

    async def _fault_of(self, work: Callable[[], Awaitable[None]]) -> RouterError | None:
        """Does `work` and raises nothing.  Returns the error that the client is to be told."""
        try:
            with self._work:
                await work()
            if self._work.cancelled_caught:
                return self._abort_fault()
        except RouterError as error:
            return error.bare()
        except ClientStalled:
            self.client_stalled()
        except Exception:
            request_id = self.record.request_id
            logger.exception("a stream failed", extra={"fields": {"request_id": request_id}})
            return InternalError(f"internal error; request id {request_id}")
        return None

    def _book(self) -> None:
        self._phase = _Phase.BOOKED
        if self.permit is not None:
            self.permit.finish(self.record)
        self._engine.booked(self)
        self._upstreams.leave()


def _since(start: float) -> float:
    """Seconds; not a method, so that what an answer is read by does not hold the exchange."""
    return trio.current_time() - start


def _drain_of(asked: Target | Route) -> DrainConfig | None:
    """How long the upstream may go on when the client has left; None if it may not."""
    if isinstance(asked, Route) and asked.policy.on_disconnect is not None:
        return asked.policy.on_disconnect.drain
    return None
