"""The words of the Messages API and what they are called in the hub.

From the API reference (platform.claude.com/docs/en/api/messages) and "Stop reasons".
"""

from __future__ import annotations

from typing import Any

Block = dict[str, Any]  # a content block of the Messages API

FORMAT = "anthropic-claude-v1"  # of reasoning_details: whose signatures these are

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# Stop reasons of which the hub's own word tells less.
TELLING = frozenset({"stop_sequence", "pause_turn", "model_context_window_exceeded", "refusal"})

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
MIN_BUDGET = 1024  # tokens; what the API asks for at least

# The API takes these and no others ("Vision"); a client's `image/jpg` means JPEG.
IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

_NATIVE = frozenset(
    {"image", "document", "search_result", "container_upload", "compaction", "fallback"}
)
_USAGE = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens_details",
    }
)
# What else usage tells, in the API's own names: kept as it is, there and back.
_USAGE_EXTRA = (
    "cache_creation",
    "server_tool_use",
    "service_tier",
    "inference_geo",
    "speed",
    "iterations",
)


def is_native(kind: Any) -> bool:
    """Whether a content block of this type has no counterpart in the hub, so is kept as it is."""
    return isinstance(kind, str) and (kind in _NATIVE or kind.endswith(("_tool_use", "_tool_result")))


def usage_to_hub(usage: dict[str, Any]) -> dict[str, Any]:
    """The API counts cached input beside `input_tokens`; the hub's prompt has all of it."""
    read, written = (
        _count(usage, "cache_read_input_tokens"),
        _count(usage, "cache_creation_input_tokens"),
    )
    prompt = _count(usage, "input_tokens") + read + written
    answer = _count(usage, "output_tokens")
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": written},
    }
    details = usage.get("output_tokens_details")
    if isinstance(details, dict) and isinstance(details.get("thinking_tokens"), int):
        told["completion_tokens_details"] = {"reasoning_tokens": details["thinking_tokens"]}
    return told | {k: v for k, v in usage.items() if k not in _USAGE and v is not None}


def usage_from_hub(usage: Any) -> dict[str, Any]:
    """The API's counts; zeros if `usage` is none."""
    usage = usage if isinstance(usage, dict) else {}
    prompt = usage.get("prompt_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    read, written = _count(prompt, "cached_tokens"), _count(prompt, "cache_creation_tokens")
    told: dict[str, Any] = {
        "input_tokens": max(0, _count(usage, "prompt_tokens") - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _count(usage, "completion_tokens"),
    }
    details = usage.get("completion_tokens_details")
    if isinstance(details, dict) and isinstance(details.get("reasoning_tokens"), int):
        told["output_tokens_details"] = {"thinking_tokens": details["reasoning_tokens"]}
    return told | {k: usage[k] for k in _USAGE_EXTRA if usage.get(k) is not None}


def stop_reason(choice: dict[str, Any], *, has_calls: bool) -> str | None:
    """The API's stop reason for a choice of the hub; None if nothing tells why it stopped.

    A call that is whole tells it, a text does not.
    """
    finish = choice.get("finish_reason")
    if not finish and not has_calls:
        return None
    native = choice.get("native_finish_reason")
    if isinstance(native, str) and FINISH.get(native) == finish:
        return native
    reason = STOP.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    # Clients run tools only if the answer says that it stopped for them; some servers say "stop".
    return "tool_use" if has_calls and reason == "end_turn" else reason


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0
