"""The record of one request: written by the relay, read by the log, the metrics, history and traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from trio_router.dialects.usage import Usage

_NANO = 1_000_000_000


class Outcome(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    CLIENT_GONE = "client_gone"
    CLIENT_STALLED = "client_stalled"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    TRUNCATED = "truncated"
    REJECTED = "rejected"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal_error"
    STOPPED = "stopped"  # an operator ended it


# Outcomes that are the provider's or the router's fault; not: the client left or was refused.
FAULTS = frozenset(
    {Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT, Outcome.TRUNCATED, Outcome.INTERNAL_ERROR}
)


class Stage(StrEnum):
    """What a running request is doing."""

    QUEUED = "queued"  # its body is being read, or it waits for a slot
    CONNECTING = "connecting"  # until the request's last byte is sent
    FIRST_EVENT = "waiting first event"
    STREAMING = "streaming"
    CLIENT = "waiting for client"  # the client is slower than the upstream, and the buffer is full
    DRAINING = "draining"  # the client has left, the upstream is read on


class Progress(Protocol):
    """The counts of a reader while it reads an answer."""

    events: int


@dataclass(slots=True)
class Try:
    """One attempt at one target.  `error` is one of a few kinds; `error_text` holds no content.

    `outcome` and `code` are set when an attempt of a route has ended: each of those is counted singly.
    The only attempt of another request ends as the request does, and leaves them as they are.
    """

    provider: str
    model: str
    started_at: float
    sent_at: float | None = None  # when the request's last byte was sent
    first_event_at: float | None = None
    ended_at: float | None = None
    error: str | None = None
    error_text: str = ""
    outcome: str | None = None  # an Outcome's value, or "gave_way" for the loser of a race
    code: str | None = None  # the error's code
    used: Usage | None = None
    cost: int | None = None  # nano-dollars; None if nothing was used or no price is known
    price_source: str = ""  # where the price is from, with its version
    is_listed: bool = False  # as RequestRecord has it

    @property
    def target(self) -> str:
        """As clients name it; only the provider where no model is asked for."""
        return f"{self.provider}/{self.model}" if self.model else self.provider


@dataclass(frozen=True, slots=True)
class TargetReport:
    """A target that is not healthy.  `until`: when it is tried again, in the record's time."""

    provider: str
    model: str
    state: str  # "cooling down", "on trial"
    until: float | None = None
    reason: str = ""


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request, or one attempt of a route's.  It is equal to itself alone.

    Times are `trio.current_time()`, in seconds; None means it did not happen.
    """

    request_id: str
    started_at: float
    number: int = 0  # unique in this process, while request ids may repeat; 0 for an attempt
    key: str | None = None  # the name of the client's key, never the key
    provider: str = ""
    model: str = ""
    base_url: str = ""  # of the provider that was asked
    is_listed: bool = False  # the configuration names this model, so it may be a metric's label
    is_stream: bool = False
    format: str | None = None  # how the upstream answered: sse, ndjson or json
    status: int = 0  # HTTP status sent to the client; 0: none was
    outcome: Outcome | None = None
    error_code: str | None = None
    attempts: int = 0
    tries: list[Try] = field(default_factory=list)  # in the order in which they began
    stage: Stage = Stage.QUEUED
    progress: Progress | None = None  # counts of the answer being read, which are not added below yet
    first_event_at: float | None = None
    last_read_at: float | None = None
    max_gap: float = 0.0  # s, the longest silence between two reads
    left_at: float | None = None  # when it was noticed that the client left
    ended_at: float | None = None
    chunks_processed: int = 0
    chunks_failed: int = 0
    bytes_received: int = 0
    unicode_errors: int = 0
    json_errors: int = 0
    backpressure: float = 0.0  # s that the upstream waited for the client
    response_id: str | None = None  # by which its provider may have stored the answer
    used: Usage | None = None  # by all attempts that have ended
    spent: int | None = None  # nano-dollars, of the attempts whose price is known
    is_unpriced: bool = False  # an attempt used something, and nobody knows what it costs
    bytes_waiting: int = 0  # bytes between the upstream and the client
    operation: str = "chat"  # one of a few
    span: Any = None  # of a tracer, if there is one
    trace_headers: bytes = b""  # header lines with the trace context for the upstream
    # What the history has counted already.
    seen_chunks: int = 0
    seen_first: bool = False

    running: RequestRecord | None = None  # a route's latest attempt that is still running
    route: str | None = None  # the route that the client asked for
    is_hedged: bool = False  # a second target was asked too
    dropped: tuple[str, ...] = ()  # of an agent's request: what was left out
    is_replayed: bool = False  # the answer broke off, and another target continued it

    @property
    def is_counted_singly(self) -> bool:
        """Whether its attempts were counted one by one, as a route's are."""
        return bool(self.tries) and self.tries[0].outcome is not None

    @property
    def prompt_tokens(self) -> int | None:
        return None if self.used is None else self.used.input

    @property
    def cached_tokens(self) -> int | None:
        """Of the prompt, read from the provider's cache as it says."""
        return None if self.used is None else self.used.cached

    @property
    def completion_tokens(self) -> int | None:
        return None if self.used is None else self.used.output

    @property
    def is_estimated(self) -> bool:
        """Some of the tokens are estimated: an upstream reported no usage."""
        return self.used is not None and self.used.is_estimated

    @property
    def cost(self) -> int | None:
        """Nano-dollars, of all attempts; None if nothing was used or a price is not known."""
        return None if self.is_unpriced else self.spent

    @property
    def cost_usd(self) -> float | None:
        return None if self.is_unpriced or self.spent is None else self.spent / _NANO

    def used_at(self, entry: Try, cost: int | None, source: str) -> None:
        """The attempt of `entry` has ended, and what it used costs `cost` nano-dollars, if known."""
        entry.used, entry.cost, entry.price_source = self.used, cost, source
        self.spent = cost
        self.is_unpriced = cost is None

    @property
    def usage(self) -> str | None:
        """The source of the tokens: "reported" or "estimated"; None if there are none."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return "estimated" if self.is_estimated else "reported"

    def add(self, attempt: RequestRecord) -> None:
        """Adds the counts of one attempt of this request."""
        self.format = attempt.format or self.format
        self.chunks_processed += attempt.chunks_processed
        self.chunks_failed += attempt.chunks_failed
        self.bytes_received += attempt.bytes_received
        self.unicode_errors += attempt.unicode_errors
        self.json_errors += attempt.json_errors
        self.backpressure += attempt.backpressure
        if attempt.used is not None:
            self.used = attempt.used if self.used is None else self.used + attempt.used
        self.spent = _sum(self.spent, attempt.spent)
        self.is_unpriced |= attempt.is_unpriced
        self.last_read_at = attempt.last_read_at or self.last_read_at
        self.max_gap = max(self.max_gap, attempt.max_gap)

    @property
    def chunks(self) -> int:
        """Events so far."""
        reading = 0 if self.progress is None else self.progress.events
        return self.chunks_processed + reading + (0 if self.running is None else self.running.chunks)

    @property
    def current_stage(self) -> Stage:
        if self.left_at is not None:
            return Stage.DRAINING
        return self.stage if self.running is None else self.running.current_stage

    @property
    def read_at(self) -> float | None:
        """When any attempt last read something."""
        return (self.running and self.running.last_read_at) or self.last_read_at

    @property
    def duration(self) -> float:
        return (self.ended_at or self.started_at) - self.started_at

    @property
    def first_event_after(self) -> float | None:
        return None if self.first_event_at is None else self.first_event_at - self.started_at


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
