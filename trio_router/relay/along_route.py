"""One request along the targets of its route."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_router.errors import ClientStalled, RouterError
from trio_router.observe.record import Outcome, RequestRecord
from trio_router.relay.pump import move_stream
from trio_router.relay.race import Lane, Race
from trio_router.relay.resume import ResumableCall
from trio_router.relay.sinks import HoldingSink, PassingSink
from trio_router.relay.whole import whole_answer
from trio_router.routing.hedge import hedge_after
from trio_router.routing.plan import Plan
from trio_router.routing.route import with_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from trio_router.relay.attempt import Attempt
    from trio_router.relay.books import Books
    from trio_router.relay.call import HubCall, StreamCall, Translator, WholeCall
    from trio_router.relay.engine import Engine, Upstreams
    from trio_router.relay.sinks import OnFirst, RouteSink, Stream
    from trio_router.routing.affinity import Affinity
    from trio_router.routing.fleet import Fleet, Visit
    from trio_router.routing.route import Route, RouteTarget
    from trio_router.routing.target import Target

    MakeAttempt = Callable[[Target, RequestRecord], Attempt]

_MOST_HELD = 8  # times `stream.max_event`: what `commit: complete` may hold back


class RouteRun:
    """Asks one target after another, as the plan says, until one has answered.

    Everything happens in the caller's task.  Attempts that race have one task each, and these tasks end
    before the race does.
    """

    def __init__(
        self,
        books: Books,
        engine: Engine,
        upstreams: Upstreams,
        route: Route,
        attempt: MakeAttempt,
        affinity: Affinity,
    ) -> None:
        self._books = books
        self._engine = engine
        self._upstreams = upstreams
        self._fleet = upstreams.fleet
        self._route = route
        self._policy = route.policy
        self._record = books.record
        self._make_attempt = attempt
        self._resumable: ResumableCall | None = None
        self._affinity = affinity
        order = self._fleet.order(route, trio.current_time(), engine.clock.random, affinity)
        self._plan = Plan(route, order, self._fleet)
        self._visits: dict[str, Visit] = {}  # to targets that are about to be asked

    async def whole(self, call: WholeCall) -> bytes:
        """The client's JSON of an answer without streaming.  Raises RouterError."""
        while (target := await self._next()) is not None:
            trial = self._trial(target)
            try:
                with trial:
                    return await whole_answer(trial.attempt, call)
            except RouterError as error:
                self._failed(trial, error.bare())
        raise self._plan.error(trio.current_time())

    async def stream(self, call: HubCall, stream: Stream) -> None:
        """Moves a stream into `stream`, up to its honest end.  Raises RouterError, ClientStalled."""
        if self._route.keeps_request:
            is_prefilled = self._policy.midstream == "prefill"
            self._resumable = ResumableCall(call, prefill=is_prefilled)
        if self._policy.hedge is not None:
            self._fleet.route(self._route).hedges.deposit(self._policy.hedge.share)
        try:
            await self._move(self._resumable or call, stream)
        finally:
            if self._resumable is not None:
                self._resumable.forget_all()

    async def _move(self, call: StreamCall, stream: Stream) -> None:
        while (target := await self._next()) is not None:
            after = None
            if not stream.has_begun:
                after = hedge_after(self._policy.hedge, self._fleet.state(target).latency)
            if after is None:
                is_over = await self._one(call, target, stream)
            else:
                is_over = await self._race(call, target, stream, after)
            if is_over:
                return
        raise self._plan.error(trio.current_time())

    async def _next(self) -> RouteTarget | None:
        while (step := self._plan.next(trio.current_time())) is not None:
            if step.delay > 0:
                await trio.sleep(step.delay)
            if self._begin(step.target):
                return step.target
        return None

    def _begin(self, target: RouteTarget) -> bool:
        """Whether the target may be asked now.  If so, its visit begins at once, before others look."""
        now = trio.current_time()
        if not self._plan.may_begin(target, now):
            return False
        self._visits[target.name] = self._fleet.visit(self._route, target, now, self._affinity)
        return True

    async def _one(
        self, call: StreamCall, target: RouteTarget, stream: Stream, lane: Lane | None = None
    ) -> bool:
        """One attempt; whether it came to a good end."""
        trial = self._trial(target, lane)
        sink = self._sink(stream, partial(self._first_event_came, trial))
        was_begun = stream.has_begun
        try:
            with trial:
                await move_stream(trial.attempt, call, sink)
                await sink.release()
        except RouterError as error:
            error.bare()
            if stream.has_begun and (was_begun or sink.has_answered):
                self._torn(target, error, stream)
            else:
                self._failed(trial, error)
            return False
        finally:
            if was_begun and self._resumable is not None:
                self._book_replay(trial)
        return True

    def _first_event_came(self, trial: _Trial, translator: Translator) -> None:
        trial.first_event_came()
        if self._resumable is not None:
            self._resumable.went_out(translator)

    def _sink(self, stream: Stream, on_first: OnFirst) -> RouteSink:
        if self._policy.commit == "complete":
            return HoldingSink(stream, on_first, _MOST_HELD * self._upstreams.stream.max_event)
        return PassingSink(stream, on_first)

    async def _race(self, call: StreamCall, target: RouteTarget, stream: Stream, after: float) -> bool:
        started: list[RouteTarget] = []

        def rival() -> RouteTarget | None:
            found = self._plan.rival(trio.current_time())
            if found is None or not self._fleet.route(self._route).hedges.take():
                return None
            if not self._begin(found):
                return None
            self._record.is_hedged = True
            started.append(found)
            return found

        race = Race(lambda one, lane: self._one(call, one, stream, lane))
        try:
            return await race.run(target, after, rival)
        finally:
            for second in started:
                outcome = "won" if race.has_won(1) else "lost"
                self._engine.metrics.hedges.labels(*second.labels, outcome).inc()

    def _trial(self, target: RouteTarget, lane: Lane | None = None) -> _Trial:
        visit = self._visits.pop(target.name)
        trial = _Trial(self._books, self._engine, self._fleet, visit, target, self._make_attempt, lane)
        trial.is_kept_in_mind = self._route.has_affinity
        return trial

    def _failed(self, trial: _Trial, error: RouterError) -> None:
        self._plan.failed(
            trial.target,
            error,
            trio.current_time(),
            key=trial.key,
            wall=self._engine.clock.wall(),
            random=self._engine.clock.random,
        )

    def _torn(self, target: RouteTarget, error: RouterError, stream: Stream) -> None:
        self._plan.torn(target, error)
        call = self._resumable
        if call is None or not call.can_go_on or stream.is_draining:
            self._plan.give_up()
        else:
            call.is_begun = True

    def _book_replay(self, trial: _Trial) -> None:
        self._record.is_replayed = True
        labels = self._engine.metrics.labels(trial.record)
        self._engine.metrics.replays.labels(*labels, trial.outcome).inc()


class _Trial:
    """One attempt, and how it is reported to the target's state, the record and the metrics."""

    def __init__(
        self,
        books: Books,
        engine: Engine,
        fleet: Fleet,
        visit: Visit,
        target: RouteTarget,
        attempt: MakeAttempt,
        lane: Lane | None,
    ) -> None:
        self.target = target
        self.outcome = "internal_error"
        self.is_kept_in_mind = False  # whether a request that goes on from its answer will find it
        self._books = books
        self._engine = engine
        self._fleet = fleet
        self._lane = lane
        self._visit = visit
        self.key = visit.key
        self.keyed = with_key(target.target, self.key)
        self.record = RequestRecord(
            books.record.request_id,
            trio.current_time(),
            provider=self.keyed.provider,
            model=self.keyed.model,
            is_listed=self.keyed.is_listed,
            is_stream=books.record.is_stream,
            attempts=1,
            tries=books.record.tries,
            trace_headers=books.record.trace_headers,
        )
        self.attempt = attempt(self.keyed, self.record)

    def first_event_came(self) -> None:
        if self._lane is not None:
            self._lane.claim()
        now = trio.current_time()
        self._visit.answered(now)
        self._books.answered_by(self.keyed, now)

    def __enter__(self) -> None:
        self._books.begin(self.keyed, self.record)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = trio.current_time()
        error = fault if isinstance(fault, RouterError) else None
        if fault is None:
            self._visit.succeeded(now)
            if self.record.response_id is not None and self.is_kept_in_mind:
                self._fleet.has_stored(self.record.response_id, self.target, self.key)
            if not self.record.is_stream:
                self._books.answered_by(self.keyed, self.record.first_event_at or now)
        elif error is not None:
            self._visit.failed(error, now)
        elif self._lane is not None and self._lane.has_lost:
            self._visit.gave_way(now)
        self._visit.leave(now)
        self.outcome = self._outcome(fault)
        self.record.ended_at = now
        entry = self.attempt.entry
        entry.outcome, entry.code = self.outcome, error.code if error else None
        self._books.end(self.record)
        self._engine.metrics.tried(self.record, self.outcome)
        self._engine.show_state(self._fleet, self.keyed.provider, self.keyed.model)

    def _outcome(self, fault: BaseException | None) -> str:
        if fault is None:
            return str(Outcome.COMPLETED)
        if isinstance(fault, RouterError):
            return str(getattr(fault, "outcome", Outcome.REJECTED))
        if self._lane is not None and self._lane.has_lost:
            return "gave_way"
        if isinstance(fault, ClientStalled):
            return str(Outcome.CLIENT_STALLED)
        if isinstance(fault, trio.Cancelled):
            return str(self._books.record.outcome or Outcome.CLIENT_GONE)
        return str(Outcome.INTERNAL_ERROR)
