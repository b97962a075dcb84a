"""Gemini's `models/M:countTokens` (ai.google.dev/api/tokens).

Vertex AI has the same endpoint, and takes the fields of a request without the object around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import Unsupported, UpstreamRequest
from trio_router.dialects.gemini.request import build_body
from trio_router.wire.jsoncodec import dumps

_COUNTED = ("contents", "systemInstruction", "tools")
_VERTEX = "/publishers/"  # in the base URL

if TYPE_CHECKING:
    from collections.abc import Callable


class GeminiCounter:
    """`resource` gives the name under which the API has a model."""

    is_guess = False

    def __init__(self, resource: Callable[[str], str]) -> None:
        self._resource = resource

    def request(self, body: dict[str, Any], base_url: str) -> UpstreamRequest:
        name = self._resource(str(body.get("model")))
        made = build_body(body, Unsupported("Gemini", drop=True))
        told = {field: made[field] for field in _COUNTED if field in made}
        if _VERTEX not in base_url:
            told = {"generateContentRequest": {"model": name, **told}}
        return UpstreamRequest(f"/{name}:countTokens", dumps(told))

    def tokens(self, record: dict[str, Any]) -> int | None:
        count = record.get("totalTokens", 0)  # proto's JSON leaves out a zero
        return count if isinstance(count, int) and not isinstance(count, bool) else None
