"""What an operator is told of a failure: its kind, and a text that holds no content and no secret."""

from __future__ import annotations

from trio_router.errors import (
    Empty,
    EventTooLarge,
    MalformedUTF8,
    NetworkError,
    ProviderAuthError,
    RouterError,
    Truncated,
    UpstreamStatus,
    UpstreamTimeout,
)

# Their messages are the router's own words.  Those of the others may quote what the upstream said,
# and an upstream may quote the prompt.
_OURS = (NetworkError, UpstreamTimeout, MalformedUTF8, Truncated, Empty, EventTooLarge)


def kind_of(error: RouterError) -> str:
    """One of few: what an upstream calls its errors is not taken over."""
    if isinstance(error, UpstreamStatus):
        return f"http_{error.status}"
    if isinstance(error, UpstreamTimeout):
        return f"timeout_{error.phase}"
    return type(error).code


def text_of(error: RouterError) -> str:
    if isinstance(error, _OURS):
        return error.message[:300]
    if isinstance(error, ProviderAuthError):
        return error.summary
    if isinstance(error, UpstreamStatus):
        return f"the provider answered with status {error.status}"
    return type(error).code.replace("_", " ")
