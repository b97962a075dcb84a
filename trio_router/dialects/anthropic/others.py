"""What a Messages client says that only the API itself has a use for, taken out for other targets.

Strict servers refuse a request for a field they do not know.  What is taken out here changes no answer:
marks for the API's cache, or what the hub's own fields say as well.  Everything else stays, for the
target to refuse.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.anthropic.order import OUTLINE
from trio_router.dialects.hub import as_dict, dicts, without_billing

# `thinking` and `output_config.effort` are told by `reasoning_effort`; edits of the context are made
# where it is too long, which the target will say itself.
_REQUEST = frozenset({"cache_control", "thinking", "context_management"})
_MESSAGE = frozenset({"cache_control", "is_error", OUTLINE})
_PART = frozenset({"cache_control", "citations", "context"})
_TOOL = frozenset({"cache_control", "eager_input_streaming"})
_FAILED = "Error:"
_LONGEST_USER = 64  # characters; OpenAI refuses more, and Claude Code's ids have more


def for_others(request: dict[str, Any]) -> dict[str, Any]:
    """A chat request that came from `chat_request`, for a target that is not the Messages API."""
    made = _without(request, _REQUEST)
    if as_dict(made.get("output_config")).keys() == {"effort"}:
        del made["output_config"]
    if len(made.get("user") or "") > _LONGEST_USER:
        del made["user"]
    made["messages"] = [_message(message) for message in _without_billing(request["messages"])]
    if "tools" in made:
        made["tools"] = [_without(tool, _TOOL) for tool in dicts(made["tools"])]
    return made


def _without_billing(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not messages or messages[0].get("role") != "system":
        return messages
    system, *rest = messages
    content = system.get("content")
    kept = without_billing(content if isinstance(content, str) else dicts(content))
    return [{**system, "content": kept}, *rest] if kept else rest


def _message(message: dict[str, Any]) -> dict[str, Any]:
    made = _without(message, _MESSAGE)
    if message.get("is_error"):
        made["content"] = _failed(made["content"])
    if isinstance(made.get("content"), list):
        made["content"] = [_without(part, _PART) for part in made["content"]]
    if "tool_calls" in made:
        made["tool_calls"] = [_call(call) for call in made["tool_calls"]]
    return made


def _failed(result: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """That a tool has failed has no field elsewhere: its result says it."""
    if isinstance(result, list):
        return [{"type": "text", "text": _FAILED}, *result]
    return result if result.lower().startswith("error") else f"{_FAILED} {result}".strip()


def _call(call: dict[str, Any]) -> dict[str, Any]:
    made = _without(call, frozenset({"cache_control", "extra_content"}))
    if extra := _without(as_dict(call.get("extra_content")), frozenset({"anthropic"})):
        made["extra_content"] = extra
    return made


def _without(fields: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
