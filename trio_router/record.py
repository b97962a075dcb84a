"""What is remembered of one request: written by the relay, read by the log line and the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt at a target, as the log line tells it.  `seconds` is how long it took."""

    target: str  # provider/model
    outcome: str  # an Outcome's value, or "gave_way" for the loser of a race
    error: str | None  # the error's code
    seconds: float


@dataclass(slots=True)
class RequestRecord:
    """One request, or one attempt of a route's.

    Times are `trio.current_time()`, in seconds; None means it did not happen.
    """

    request_id: str
    started_at: float
    key: str | None = None  # the name of the client's key, never the key
    provider: str = ""
    model: str = ""
    is_listed: bool = False  # the configuration names this model: its name may be a metric's label
    is_stream: bool = False
    format: str | None = None  # how the upstream answered: sse, ndjson or json
    status: int = 0  # HTTP status that went to the client; 0: none did
    outcome: Outcome | None = None
    error_code: str | None = None
    attempts: int = 0
    first_event_at: float | None = None
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

    @property
    def duration(self) -> float:
        return (self.ended_at or self.started_at) - self.started_at

    @property
    def first_event_after(self) -> float | None:
        return None if self.first_event_at is None else self.first_event_at - self.started_at


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
