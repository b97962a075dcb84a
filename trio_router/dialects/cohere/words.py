"""The words of Cohere's chat API and what they are called in the hub."""

from __future__ import annotations

import math
from typing import Any

FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",  # the context was full
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
FAILED = frozenset({"ERROR", "TIMEOUT"})  # the answer is none, whatever has been said of it
PLAIN = frozenset({"COMPLETE", "MAX_TOKENS", "TOOL_CALL"})  # of which the hub's own word tells all


def usage_to_hub(usage: dict[str, Any]) -> dict[str, Any]:
    """What was read and written; what of it is to be paid stays beside it as it is."""
    billed, tokens = _object(usage, "billed_units"), _object(usage, "tokens")
    prompt = _count(tokens or billed, "input_tokens")
    answer = _count(tokens or billed, "output_tokens")
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": _count(usage, "cached_tokens")},
    }
    if "image_tokens" in tokens:
        told["prompt_tokens_details"]["image_tokens"] = _count(tokens, "image_tokens")
    return told | {k: v for k, v in usage.items() if k not in ("tokens", "cached_tokens")}


def _object(usage: dict[str, Any], name: str) -> dict[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def _count(usage: dict[str, Any], name: str) -> int:
    """Counts are numbers of any kind in the API, such as 12.0."""
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return int(value)
