"""Asking a running router to read its configuration again, from the terminal."""

from __future__ import annotations

from typing import Any

import httpx

from trio_router.dialects.provider_error import error_message
from trio_router.wire.jsoncodec import JSONError, loads

_PATIENCE = 60.0  # s: the workers take it one after the other


class ReloadFailed(Exception):
    """The router could not be reached, or did not let us ask."""


def ask_to_reload(url: str, key: str | None) -> tuple[list[str], bool]:
    """The lines that tell what became of it, and whether it was refused.  Raises ReloadFailed."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    base = url.rstrip("/").removesuffix("/v1")
    try:
        with httpx.Client(headers=headers, timeout=_PATIENCE, trust_env=False) as client:
            response = client.post(f"{base}/admin/v1/config/reload")
    except httpx.HTTPError as fault:
        raise ReloadFailed(f"{base}: {fault}") from None
    try:
        answer = loads(response.content)
    except JSONError:
        answer = None
    if not isinstance(answer, dict) or "result" not in answer:
        message = error_message(answer) if isinstance(answer, dict) else None
        raise ReloadFailed(f"{base}: {response.status_code}: {message or 'this is no trio-router'}")
    return [*_lines(answer)], answer["result"] == "refused"


def _lines(report: dict[str, Any]) -> list[str]:
    if report["result"] == "refused":
        return ["The configuration was refused:", *(f"  {line}" for line in report["complaints"])]
    lines = [f"{report['result']}: generation {report['generation']}"]
    lines += [f"  {line}" for line in report["changes"]]
    lines += [f"  {name} needs a restart" for name in report["needs_restart"]]
    return lines + [f"  {line}" for line in report["complaints"]]
