"""What is remembered of one request: written by the relay, read by the log line and the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


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


# What the provider or the router is to blame for: neither a client that left nor one that was refused.
FAULTS = frozenset(
    {Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT, Outcome.TRUNCATED, Outcome.INTERNAL_ERROR}
)


class Stage(StrEnum):
    """Where a running request is."""

    QUEUED = "queued"  # its body is being read, or it waits for a slot
    CONNECTING = "connecting"  # until the request's last byte is with the upstream
    FIRST_EVENT = "waiting first event"
    STREAMING = "streaming"
    CLIENT = "waiting for client"  # no room: the client takes less than the upstream gives
    DRAINING = "draining"  # the client has left, the upstream is read on


class Progress(Protocol):
    """What reads an answer, as it counts."""

    events: int


@dataclass(slots=True)
class Try:
    """One attempt at one target.  `error` is its kind, of few; `error_text` tells no content."""

    provider: str
    model: str
    started_at: float
    sent_at: float | None = None  # the request's last byte was with the upstream
    first_event_at: float | None = None
    ended_at: float | None = None
    error: str | None = None
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class TargetReport:
    """A target that is not simply healthy.  `until`: when it is tried again, as the record's times."""

    provider: str
    model: str
    state: str  # "cooling down", "on trial"
    until: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt at a target, as the log line tells it.  `seconds` is how long it took."""

    target: str  # provider/model
    outcome: str  # an Outcome's value, or "gave_way" for the loser of a race
    error: str | None  # the error's code
    seconds: float


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request, or one attempt of a route's.  It is equal to itself alone.

    Times are `trio.current_time()`, in seconds; None means it did not happen.
    """

    request_id: str
    started_at: float
    number: int = 0  # this process's own: request ids may repeat; 0 of an attempt
    key: str | None = None  # the name of the client's key, never the key
    provider: str = ""
    model: str = ""
    base_url: str = ""  # of the provider that was asked
    is_listed: bool = False  # the configuration names this model: its name may be a metric's label
    is_stream: bool = False
    format: str | None = None  # how the upstream answered: sse, ndjson or json
    status: int = 0  # HTTP status that went to the client; 0: none did
    outcome: Outcome | None = None
    error_code: str | None = None
    attempts: int = 0
    tries: list[Try] = field(default_factory=list)
    stage: Stage = Stage.QUEUED
    progress: Progress | None = None  # of an answer that is being read and not counted below yet
    first_event_at: float | None = None
    last_read_at: float | None = None
    max_gap: float = 0.0  # s, the longest silence between two reads
    left_at: float | None = None  # the client's leaving was noticed
    ended_at: float | None = None
    chunks_processed: int = 0
    chunks_failed: int = 0
    bytes_received: int = 0
    unicode_errors: int = 0
    json_errors: int = 0
    backpressure: float = 0.0  # s that the upstream waited for the client
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    bytes_waiting: int = 0  # on their way from the upstream to the client
    operation: str = "chat"  # what is asked for, of few
    span: Any = None  # of a tracer, if there is one
    trace_headers: bytes = b""  # header lines that tell the upstream of the trace
    # What the history has seen of it already.
    seen_chunks: int = 0
    seen_first: bool = False

    running: RequestRecord | None = None  # a route's attempt that was begun last, and has not ended
    is_estimated: bool = False  # the tokens are guessed from sizes: the upstream told none
    route: str | None = None  # the route that was asked for
    tried: list[Tried] = field(default_factory=list)  # by a route; its attempts are booked one by one
    is_hedged: bool = False  # a second target was raced
    is_replayed: bool = False  # the answer broke off, and another target went on with it

    @property
    def usage(self) -> str | None:
        """Where the tokens are from: "reported" or "estimated"; None if there are none."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return "estimated" if self.is_estimated else "reported"

    def add(self, attempt: RequestRecord) -> None:
        """Takes over what one attempt of this request has counted."""
        self.format = attempt.format or self.format
        self.chunks_processed += attempt.chunks_processed
        self.chunks_failed += attempt.chunks_failed
        self.bytes_received += attempt.bytes_received
        self.unicode_errors += attempt.unicode_errors
        self.json_errors += attempt.json_errors
        self.backpressure += attempt.backpressure
        self.prompt_tokens = _sum(self.prompt_tokens, attempt.prompt_tokens)
        self.completion_tokens = _sum(self.completion_tokens, attempt.completion_tokens)
        self.is_estimated |= attempt.is_estimated
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
        """The last read of any attempt."""
        return (self.running and self.running.last_read_at) or self.last_read_at

    @property
    def duration(self) -> float:
        return (self.ended_at or self.started_at) - self.started_at

    @property
    def first_event_after(self) -> float | None:
        return None if self.first_event_at is None else self.first_event_at - self.started_at


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
