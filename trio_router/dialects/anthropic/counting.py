"""Anthropic's `POST /messages/count_tokens` ("Token counting"), for clients of other APIs."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.anthropic.request import build_body
from trio_router.dialects.base import Unsupported, UpstreamRequest
from trio_router.wire.jsoncodec import dumps

_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking")


class AnthropicCounter:
    is_guess = False

    def request(self, body: dict[str, Any], base_url: str) -> UpstreamRequest:
        made = build_body(body, Unsupported("Anthropic", drop=True))
        told = {name: made[name] for name in _COUNTED if name in made}
        return UpstreamRequest("/messages/count_tokens", dumps(told))

    def tokens(self, record: dict[str, Any]) -> int | None:
        count = record.get("input_tokens")
        return count if isinstance(count, int) and not isinstance(count, bool) else None
