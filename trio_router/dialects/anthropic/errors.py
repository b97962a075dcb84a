"""Errors in the API's own shape ("Errors", platform.claude.com/docs/en/api/errors)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.errors import StreamError

if TYPE_CHECKING:
    from trio_router.errors import RouterError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_KNOWN = frozenset(_TYPES.values()) | {"api_error"}


def error_body(error: RouterError) -> dict[str, Any]:
    """An upstream's own error type is kept where it is one of the API's."""
    said = error.kind if isinstance(error, StreamError) else error.code
    kind = said if said in _KNOWN else _TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if 400 <= error.status < 500 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": error.message}}
