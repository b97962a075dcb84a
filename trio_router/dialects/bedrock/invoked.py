"""What models say where they were invoked in an API of their own, as far as it is text.

Claude's messages and what is in the hub's shape are other dialects'; here is what remains: Titan,
Claude's older completions, Llama, Mistral, Cohere's Command.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.bedrock.words import invoked_usage, members
from trio_router.dialects.hub import dicts

METRICS = "amazon-bedrock-invocationMetrics"
_OWN = frozenset({"outputText", "generation", METRICS})


def is_invoked(record: dict[str, Any]) -> bool:
    """Whether a record is in one of these APIs, by its shape."""
    if not record.keys().isdisjoint(_OWN):
        return "choices" not in record and "type" not in record
    if isinstance(record.get("completion"), str):
        return "stop_reason" in record and record.get("type") in (None, "completion")
    return any("outputText" in one for one in dicts(record.get("results"))) or any(
        "text" in one and "stop_reason" in one for one in dicts(record.get("outputs"))
    )


def spoken(record: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The text, the reason to stop ("" before it) and the usage in Converse's shape, if it tells it."""
    one = _part(record)
    text = next((one[name] for name in _TEXTS if isinstance(one.get(name), str)), "")
    native = next((one[name] for name in _REASONS if isinstance(one.get(name), str)), "")
    metrics = members(record, METRICS)
    if metrics:
        return text, native, invoked_usage(metrics)
    return text, native, _counted(record, one)


_TEXTS = ("outputText", "completion", "generation", "text")
_REASONS = ("completionReason", "stop_reason", "finish_reason")


def _part(record: dict[str, Any]) -> dict[str, Any]:
    """Where the text stands: in the record, or in its first result."""
    for name in ("results", "outputs", "generations"):
        if found := dicts(record.get(name)):
            return found[0]
    return record


def _counted(record: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    asked = record.get("inputTextTokenCount", record.get("prompt_token_count"))
    answered = record.get("totalOutputTextTokenCount", record.get("generation_token_count"))
    answered = one.get("tokenCount", answered)
    if asked is None and answered is None:
        return {}
    told = {"inputTokens": asked, "outputTokens": answered}
    return {name: value for name, value in told.items() if value is not None}
