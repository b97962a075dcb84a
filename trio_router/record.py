"""What is remembered of one request: written by the relay, read by the log line and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(slots=True)
class RequestRecord:
    """One request.  Times are `trio.current_time()`, in seconds; None means it did not happen."""

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

    @property
    def duration(self) -> float:
        return (self.ended_at or self.started_at) - self.started_at

    @property
    def first_event_after(self) -> float | None:
        return None if self.first_event_at is None else self.first_event_at - self.started_at
