"""One attempt at one target, in one task, under one watchdog: what all kinds of attempts share.

What is done with the answer stands in files of their own: `pump` moves a stream, `whole` reads an
answer without streaming, `passage` passes anything through.  All of them ask, read and close the
answer inside `with attempt:`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from trio_router.dialects.provider_error import answer_error
from trio_router.errors import (
    ClientStalled,
    EventTooLarge,
    LastingFault,
    RouterError,
    UpstreamTimeout,
)
from trio_router.money import NO_PRICES
from trio_router.observe.failure import kind_of, text_of
from trio_router.observe.record import Stage, Try
from trio_router.policy.permit import UNLIMITED
from trio_router.relay.heavy import in_slices
from trio_router.relay.redact import without_secrets
from trio_router.relay.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from trio_router.dialects.base import AnswerIdentity
    from trio_router.dialects.usage import Usage
    from trio_router.money import PriceBook
    from trio_router.observe.metrics import Metrics
    from trio_router.observe.record import RequestRecord
    from trio_router.policy.permit import Permit
    from trio_router.relay.call import AnyCall
    from trio_router.relay.client import PassingRequest, UpstreamAnswer, UpstreamClient
    from trio_router.routing.target import Target

    Put = Callable[[bytes, Callable[[], None]], Awaitable[None]]  # see `Sink.put`

T = TypeVar("T")
_ERROR_BODY = 65536  # bytes of an error answer that are read; the message is at the beginning
_JOINED = 1 << 20  # bytes: an answer up to this long is joined on the event loop


class Attempt:
    """One attempt: the watchdog, the record, and how an answer is opened and read.

    It is entered once, and while it is entered it counts as an open upstream.  When a limit was
    exceeded, leaving it raises UpstreamTimeout or ClientStalled in place of the watchdog's
    cancellation.  `identity` is how an answer that is translated here names itself; `entry` is what
    the record says of the attempt.
    """

    def __init__(
        self,
        target: Target,
        client: UpstreamClient,
        identity: AnswerIdentity,
        record: RequestRecord,
        metrics: Metrics,
        *,
        is_impatient: bool = False,
        prices: PriceBook = NO_PRICES,
        permit: Permit | None = None,
    ) -> None:
        self.target = target
        self.identity = identity
        self.record = record
        self.metrics = metrics
        self.limits = target.timeouts
        self.watchdog = Watchdog(self.limits.total)
        self.asked_bytes = 0  # of the request's body, as it was sent to this target
        self._client = client
        self._prices = prices
        self._permit = permit
        self.paid = UNLIMITED  # events that are paid for
        self._is_impatient = is_impatient  # `first_event` counts from the slot on, not from on_sent
        self._open_upstreams = metrics.of(metrics.labels(record)).upstreams_open
        self.entry = Try(target.provider, target.model, trio.current_time(), is_listed=target.is_listed)
        record.tries.append(self.entry)
        record.stage = Stage.QUEUED

    def __enter__(self) -> None:
        self._open_upstreams.inc()
        self.watchdog.open().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope = self.watchdog.scope
        try:
            scope.__exit__(kind, fault, trace)
        finally:
            self._open_upstreams.dec()
            self._note_release()
            if self.record.used is not None:
                self._note_cost(self.record.used)
            self.entry.ended_at = trio.current_time()
        if scope.cancelled_caught:
            if self.watchdog.is_over:
                return True  # a limit was reached in the moment in which the answer came
            raise self._late()
        if isinstance(fault, RouterError):
            for secrets in (self.target.headers, *self._client.secrets()):
                fault.message = without_secrets(fault.message, secrets)
            self._note_failure(fault)
        return False

    # -- asking

    async def ask(self, call: AnyCall, on_asked: Callable[[], None] | None = None) -> UpstreamAnswer:
        """Sends `call`.  Returns the answer, its body unread; the caller enters it with `with` at once.

        `on_asked` is called when the upstream has the whole request, or, if this attempt is impatient,
        when the request has its slot.  Raises RouterError.  On cancel the connection is closed.
        """
        if self._permit is not None:
            self.paid = await self._permit.attempt(self.target, self.entry)
        build = partial(call.request_for, self.target)
        request = await self.aside(build) if call.is_heavy else build()
        self.asked_bytes = len(request.body)
        early, late = (on_asked, None) if self._is_impatient else (None, on_asked)
        return await self._client.ask(
            self.target,
            request,
            request_id=self.record.request_id,
            more=self.record.trace_headers,
            on_admitted=partial(self._note_slot, early),
            on_sent=partial(self._note_sent, late),
        )

    async def send(self, request: PassingRequest, on_asked: Callable[[], None]) -> UpstreamAnswer:
        """Like `ask`, for a request that passes through."""
        if self._permit is not None:
            await self._permit.attempt(self.target, self.entry)
        return await self._client.send(
            self.target,
            request,
            request_id=self.record.request_id,
            more=self.record.trace_headers,
            on_admitted=partial(self._note_slot, None),
            on_sent=partial(self._note_sent, on_asked),
        )

    def _note_slot(self, then: Callable[[], None] | None) -> None:
        self.record.stage = Stage.CONNECTING
        if then is not None:
            then()

    def _note_sent(self, then: Callable[[], None] | None) -> None:
        self.record.stage = Stage.FIRST_EVENT
        self.entry.sent_at = trio.current_time()
        if then is not None:
            then()

    # -- reading

    async def check_status(self, response: UpstreamAnswer) -> None:
        """Raises the RouterError that the answer stands for, unless its status is 2xx."""
        status = response.status
        if 200 <= status < 300:
            return
        provider = self.target.provider
        if status < 400:
            raise LastingFault(f"{provider} answered with a redirect ({status})")
        body = await self.read(response, _ERROR_BODY, strict=False)
        raise answer_error(provider, status, body, response.header(b"retry-after") or None)

    async def read(self, response: UpstreamAnswer, limit: int, *, strict: bool) -> bytes:
        """Reads and returns the body.

        Of a body of more than `limit` bytes it returns the first `limit`; if `strict`, it raises
        EventTooLarge instead.
        """
        parts: list[bytes] = []
        size = 0
        async for data in response:
            if strict and self.record.first_event_at is None:
                self.note_first_event(trio.current_time())
            self.record.bytes_received += len(data)
            parts.append(data)
            size += len(data)
            if size > limit:
                if strict:
                    raise EventTooLarge(f"the upstream's answer has more than {limit} bytes")
                break
        if size > _JOINED:
            return (await self.aside(partial(b"".join, parts)))[:limit]
        return b"".join(parts)[:limit]

    @property
    def has_answered(self) -> bool:
        """Whether the first event has come."""
        return self.entry.first_event_at is not None

    def note_first_event(self, now: float) -> None:
        """Notes that the first event came at `now`."""
        record = self.record
        record.stage = Stage.STREAMING
        record.first_event_at = record.last_read_at = self.entry.first_event_at = now

    # -- time that is not the upstream's

    async def aside(self, work: Callable[[], T]) -> T:
        """Like `in_slices`.  The time that `work` takes is ours, and counts against no limit."""
        left = self.watchdog.pause()
        try:
            return await in_slices(work)
        finally:
            self.watchdog.go_on(left)

    async def pay(self, said: int) -> None:
        """Has more events paid for than `said`.  The wait is ours.  Raises InsufficientQuota."""
        if self._permit is not None:
            left = self.watchdog.pause()
            try:
                self.paid = await self._permit.more(self.entry, said)
            finally:
                self.watchdog.go_on(left)

    async def wait_for_client(self, put: Put, frames: bytes) -> None:
        """Hands `frames` over with `put`, which waits for room.

        The wait is the client's time, and no lack of progress.  A client that takes something, however
        little, begins its `stall` seconds anew.
        """
        began = trio.current_time()
        self._client_moved()
        self.record.stage = Stage.CLIENT
        try:
            await put(frames, self._client_moved)
        finally:
            waited = trio.current_time() - began
            self.record.backpressure += waited
            self.watchdog.excuse(waited)
        self.record.stage = Stage.STREAMING

    def _client_moved(self) -> None:
        self.watchdog.enter("stall", self.limits.stall)

    # -- how it ends

    def _late(self) -> ClientStalled | UpstreamTimeout:
        watchdog = self.watchdog
        if watchdog.phase == "stall":
            return ClientStalled()
        late = UpstreamTimeout(self.target.provider, watchdog.phase, watchdog.limit)
        self._note_failure(late)
        return late

    def _note_cost(self, used: Usage) -> None:
        price = self._prices.of(self.target, self.identity.created)
        if price is None:
            self.record.used_at(self.entry, None, "")
        else:
            self.record.used_at(self.entry, price.cost(used), price.source)

    def _note_release(self) -> None:
        if self.record.left_at is not None:
            self.metrics.released(self.record, trio.current_time() - self.record.left_at)

    def _note_failure(self, error: RouterError) -> None:
        self.entry.error = kind_of(error)
        self.entry.error_text = text_of(error)
