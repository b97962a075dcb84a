"""How operators see a failure: its kind, and a text without content and without secrets."""

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

# The messages of these errors are the router's own.  Other messages may quote the upstream, and an
# upstream may quote the prompt.
_OURS = (NetworkError, UpstreamTimeout, MalformedUTF8, Truncated, Empty, EventTooLarge)


def kind_of(error: RouterError) -> str:
    """One of a few kinds; an upstream's own name for its error is not used."""
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
