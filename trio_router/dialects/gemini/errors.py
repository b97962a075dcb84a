"""Errors in Google's shape, `google.rpc.Status` with details (cloud.google.com/apis/design/errors)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_router.errors import RouterError

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_TYPES = "type.googleapis.com/google.rpc."


def error_body(error: RouterError) -> dict[str, Any]:
    """The router's own code, and the field that is wrong, are in the details."""
    told: dict[str, Any] = {
        "code": error.status,
        "message": error.message,
        "status": _status(error.status),
    }
    if details := _details(error):
        told["details"] = details
    return {"error": told}


def _status(status: int) -> str:
    known = _STATUSES.get(status)
    return known or ("INVALID_ARGUMENT" if 400 <= status < 500 else "INTERNAL")


def _details(error: RouterError) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if error.code:
        info = {"reason": error.code, "domain": "trio-router"}
        details.append({"@type": f"{_TYPES}ErrorInfo", **info})
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]})
    if (delay := _seconds(error.retry_after)) is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{delay}s"})
    return details


def _seconds(patience: str | None) -> int | None:
    """Of a `Retry-After` in seconds; None for a date, or for none."""
    try:
        seconds = float(patience or "")
    except ValueError:
        return None
    return math.ceil(seconds) if 0 <= seconds < 1e9 else None
