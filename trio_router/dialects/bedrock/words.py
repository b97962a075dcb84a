"""The words of Converse and what they are called in the hub.

From the API reference of the Bedrock Runtime (docs.aws.amazon.com/bedrock/latest/APIReference).
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.hub import as_dict, dicts

Block = dict[str, Any]  # a content block of Converse

# Of reasoning_details: whose signatures these are.  Claude's are the same on every cloud.
SIGNED = "anthropic-claude-v1"
REDACTED = "aws-bedrock-v1"

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
    # Of models that are invoked, in their own APIs.
    "stop": "stop",
    "length": "length",
    "finish": "stop",
    "complete": "stop",
    "content_filter": "content_filter",
}
PLAIN = frozenset(
    {"end_turn", "max_tokens", "tool_use", "stop", "length", "finish", "complete", "content_filter"}
)


def usage_to_hub(usage: dict[str, Any]) -> dict[str, Any]:
    """Input that was read from a cache or written to one is counted beside `inputTokens`.

    Where the sum is one of input and output alone, it is counted in it.
    """
    read, written = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
    asked, answer = _count(usage, "inputTokens"), _count(usage, "outputTokens")
    if usage.get("totalTokens") != asked + answer:
        asked += read + written
    told: dict[str, Any] = {
        "prompt_tokens": asked,
        "completion_tokens": answer,
        "total_tokens": asked + answer,
        "prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": written},
    }
    written_for = {
        f"ephemeral_{detail['ttl']}_input_tokens": _count(detail, "inputTokens")
        for detail in dicts(usage.get("cacheDetails"))
        if detail.get("ttl") in ("5m", "1h")
    }
    return told | ({"cache_creation": written_for} if written_for else {})


def invoked_usage(metrics: dict[str, Any]) -> dict[str, Any]:
    """What `amazon-bedrock-invocationMetrics` counts, in Converse's shape."""
    names = {
        "inputTokens": "inputTokenCount",
        "outputTokens": "outputTokenCount",
        "cacheReadInputTokens": "cacheReadInputTokenCount",
        "cacheWriteInputTokens": "cacheWriteInputTokenCount",
    }
    return {ours: _count(metrics, theirs) for ours, theirs in names.items()}


def finish_of(native: str) -> str:
    """The hub's reason for one of Converse's, or of a model's own, in any case."""
    return FINISH.get(native.lower(), "stop")


def members(record: Any, *names: str) -> dict[str, Any]:
    """The object that lies at the end of `names`; empty if there is none."""
    for name in names:
        record = as_dict(record).get(name)
    return as_dict(record)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
