"""What a failure is worth: another try, another target, or an honest answer to the client."""

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

_PASSING = frozenset({408, 409, 425, 429})  # beside 5xx: the same request may do a moment later
_LASTING = frozenset({501, 505})  # 5xx that no waiting mends
_TARGETS_OWN = frozenset({401, 402, 403, 404, 405, 407, 410, 413})  # another target may well do it
_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
_NOT_HERE = frozenset({"model_not_found", "unsupported_parameter", "unsupported_value", "unsupported"})
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
_RESERVE = 10.0  # retries that a target may get beyond its share: few requests are no outage
_REFILL = 0.1  # of them grow back a second


class Verdict(Enum):
    AGAIN = "again"  # ask the same target once more, after a while
    NEXT = "next"  # ask another target
    LARGER = "larger"  # ask a target with a larger context
    FILTERED = "filtered"  # the provider refused the content
    CLIENT = "client"  # no target will do better: tell the client


def verdict(error: RouterError) -> Verdict:
    """What to do about an attempt that failed before its first event."""
    match error:
        case UpstreamStatus() | StreamError():
            return _of_words(error)
        case InvalidRequest() | Overloaded() | UpstreamTimeout() | ProviderAuthError():
            return Verdict.NEXT  # not asked at all, silent, or not for us: asking again is no use
        case LastingFault():
            return Verdict.NEXT  # it would be the same again
        case UpstreamError():
            return Verdict.AGAIN
    return Verdict.CLIENT


def _of_words(error: UpstreamStatus | StreamError) -> Verdict:
    status = status_of(error)
    # Prose is believed where a request was refused, a code everywhere.
    words = f"{error.reason} {error.message}" if status in (None, 400, 413, 422) else error.reason
    if _CONTEXT.search(words):
        return Verdict.LARGER
    if _FILTER.search(words):
        return Verdict.FILTERED
    if error.reason in _NO_MONEY or error.reason in _NOT_HERE:
        return Verdict.NEXT
    if status is None:
        return Verdict.AGAIN
    if may_pass(status):
        return Verdict.AGAIN
    return Verdict.NEXT if status in _TARGETS_OWN or status >= 500 else Verdict.CLIENT


def may_pass(status: int) -> bool:
    """Whether the same request may do a moment later."""
    return status in _PASSING or (status >= 500 and status not in _LASTING)


def status_of(error: RouterError) -> int | None:
    """The HTTP status that the provider gave, or named inside its stream; None if it named none."""
    if isinstance(error, StreamError):
        return int(error.reason) if re.fullmatch(r"[45]\d\d", error.reason) else None
    return error.status


def is_blamed(error: RouterError) -> bool:
    """Whether a failure speaks against the target, rather than against this one request."""
    if not isinstance(error, UpstreamError) or isinstance(error, Diverged):
        return False
    if isinstance(error, UpstreamTimeout) and error.phase == "pool":
        return False  # it was we who let it wait
    return verdict(error) in (Verdict.AGAIN, Verdict.NEXT)


def retry_after(value: str | None, wall: float) -> float | None:
    """The seconds that a `Retry-After` asks for, never negative; None if it says nothing.

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
    """What a client is told where the provider said `value`: at most `most` seconds, no nonsense."""
    seconds = retry_after(value, wall)
    if seconds is None or value is None:
        return None
    return value.strip() if seconds <= most else str(max(1, math.floor(most)))


def backoff(tries: int, config: RetryConfig, random: Callable[[], float]) -> float:
    """Seconds before the next try after `tries` of them: full jitter, growing twofold up to `max`."""
    return random() * min(config.max, config.base * float(2 ** min(tries - 1, 30)))


class Budget:
    """How many retries a target may get: a share of its requests, and a small reserve.

    So an outage is not multiplied: a provider that fails gets at most `share` more requests than it
    would have had.
    """

    def __init__(self) -> None:
        self._tokens = _RESERVE
        self._at = 0.0

    def deposit(self, share: float) -> None:
        """A request comes."""
        self._tokens = min(_RESERVE * 2, self._tokens + share)

    def take(self, now: float) -> bool:
        """Whether a retry is allowed; then it is taken."""
        if self._tokens < _RESERVE:
            self._tokens = min(_RESERVE, self._tokens + _REFILL * max(0.0, now - self._at))
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
