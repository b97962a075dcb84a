"""What follows a failure: a retry, the next target, or the error to the client."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

from trio_router.errors import (
    Diverged,
    InvalidRequest,
    LastingFault,
    Overloaded,
    ProviderAuthError,
    RouterError,
    StreamError,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from trio_router.routing.rest import MOST_TOLD

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.config.routes import RetryConfig

_PASSING = frozenset({408, 409, 425, 429})  # beside 5xx: the same request may succeed a moment later
_LASTING = frozenset({501, 505})  # 5xx that a retry does not mend
_TARGETS_OWN = frozenset({401, 402, 403, 404, 405, 407, 410, 413})  # another target may succeed
_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
_NOT_HERE = frozenset({"model_not_found", "unsupported_parameter", "unsupported_value", "unsupported"})
# The request goes on from what another target has made: a stored response, sealed reasoning.
_ELSEWHERE = re.compile(
    r"previous_response_not_found|invalid_encrypted_content|invalid `?signature`? in `?thinking`? block"
    r"|thought.?signature is not valid|invalid thought.?signature",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|context (?:length|window|size)"
    r"|prompt is too long|input token count|too many (?:input )?tokens|input is too long",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content_filter|content_policy|responsibleai|content management policy|content exists risk"
    r"|moderation_blocked|flagged by moderation|data_inspection_failed",
    re.IGNORECASE,
)
_RESERVE = 10.0  # retries beyond the share, for targets with few requests
_REFILL = 0.1  # retries of the reserve that come back each second


class Verdict(Enum):
    AGAIN = "again"  # retry the same target after a backoff
    NEXT = "next"  # ask another target
    LARGER = "larger"  # ask a target with a larger context
    FILTERED = "filtered"  # the provider refused the content
    CLIENT = "client"  # no target will do better: the client gets the error


def verdict(error: RouterError) -> Verdict:
    """What to do after an attempt that failed before its first event."""
    match error:
        case UpstreamStatus() | StreamError():
            return _of_words(error)
        case InvalidRequest() | Overloaded() | UpstreamTimeout() | ProviderAuthError():
            return Verdict.NEXT  # not sent, silent, or refused: a retry is of no use
        case LastingFault():
            return Verdict.NEXT  # a retry would meet the same fault
        case UpstreamError():
            return Verdict.AGAIN
    return Verdict.CLIENT


def _of_words(error: UpstreamStatus | StreamError) -> Verdict:
    status = status_of(error)
    # The message counts only where a request was refused; an error code counts everywhere.
    words = f"{error.reason} {error.message}" if status in (None, 400, 413, 422) else error.reason
    if _CONTEXT.search(words):
        return Verdict.LARGER
    if _FILTER.search(words):
        return Verdict.FILTERED
    if error.reason in _NO_MONEY or error.reason in _NOT_HERE or _is_elsewhere(error):
        return Verdict.NEXT
    if status is None:
        return Verdict.AGAIN
    if may_pass(status):
        return Verdict.AGAIN
    return Verdict.NEXT if status in _TARGETS_OWN or status >= 500 else Verdict.CLIENT


def _is_elsewhere(error: UpstreamStatus | StreamError) -> bool:
    """Whether the target does not know what the request goes on from; another one may."""
    refused = status_of(error) in (None, 400, 404, 422)
    return refused and _ELSEWHERE.search(f"{error.reason} {error.message}") is not None


def may_pass(status: int) -> bool:
    """Whether the same request may succeed a moment later."""
    return status in _PASSING or (status >= 500 and status not in _LASTING)


def status_of(error: RouterError) -> int | None:
    """The HTTP status that the provider sent, or named in its stream; None if there is none."""
    if isinstance(error, StreamError):
        return int(error.reason) if re.fullmatch(r"[45]\d\d", error.reason) else None
    return error.status


def is_blamed(error: RouterError) -> bool:
    """Whether a failure counts against the target, rather than against this one request."""
    if not isinstance(error, UpstreamError) or isinstance(error, Diverged):
        return False
    if isinstance(error, UpstreamTimeout) and error.phase == "pool":
        return False  # the request waited in our own queue
    if isinstance(error, UpstreamStatus | StreamError) and _is_elsewhere(error):
        return False
    return verdict(error) in (Verdict.AGAIN, Verdict.NEXT)


def retry_after(value: str | None, wall: float) -> float | None:
    """The seconds that a `Retry-After` asks for, never negative; None if it cannot be read.

    `value` is a number or an HTTP date; `wall` is the Unix time.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.fromtimestamp(wall, UTC)).total_seconds())


def told_retry_after(value: str | None, wall: float, most: float = MOST_TOLD) -> str | None:
    """The client's `Retry-After` for the provider's `value`: at most `most` s, None if unreadable."""
    seconds = retry_after(value, wall)
    if seconds is None or value is None:
        return None
    return value.strip() if seconds <= most else str(max(1, math.floor(most)))


def backoff(tries: int, config: RetryConfig, random: Callable[[], float]) -> float:
    """Seconds before the next try, after `tries` tries: full jitter, doubling up to `max`."""
    return random() * min(config.max, config.base * float(2 ** min(tries - 1, 30)))


class Budget:
    """Limits a target's retries to a share of its requests, plus a small reserve.

    So an outage is not multiplied: a failing provider gets at most `share` more requests than without
    retries.
    """

    def __init__(self) -> None:
        self._tokens = _RESERVE
        self._at = 0.0

    def deposit(self, share: float) -> None:
        """Counts one request."""
        self._tokens = min(_RESERVE * 2, self._tokens + share)

    def take(self, now: float) -> bool:
        """Returns whether a retry is allowed, and counts it if so."""
        if self._tokens < _RESERVE:
            self._tokens = min(_RESERVE, self._tokens + _REFILL * max(0.0, now - self._at))
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
