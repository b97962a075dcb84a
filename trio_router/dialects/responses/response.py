"""The `response` object: what of the request it tells again, usage, status, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import as_dict, dicts

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity
    from trio_router.errors import RouterError

Response = dict[str, Any]
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_COUNTS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "reasoning_tokens",
    }
)
# What `usage_to_hub` gives names of the hub's.
_NATIVE_COUNTS = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"}
)
# What the hub's error names are in this API's requests.
_FIELDS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "include",
}


def skeleton(identity: AnswerIdentity, model: str, body: dict[str, Any]) -> Response:
    """A response that has just begun.  Nothing is stored, whatever the client asked."""
    reasoning, text = as_dict(body.get("reasoning")), as_dict(body.get("text"))
    return {
        "id": f"resp_{tail(identity)}",
        "object": "response",
        "created_at": identity.created,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": model,
        "output": [],
        "parallel_tool_calls": _given(body, "parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": _given(body, "service_tier", "default"),
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": {"type": "text"}, **{k: v for k, v in text.items() if v is not None}},
        "tool_choice": _given(body, "tool_choice", "auto"),
        "tools": [_tool(tool) for tool in dicts(body.get("tools"))],
        "top_logprobs": _given(body, "top_logprobs", 0),
        "top_p": body.get("top_p"),
        "truncation": _given(body, "truncation", "disabled"),
        "usage": None,
        "user": body.get("user"),
        "metadata": _given(body, "metadata", {}),
    }


def tail(identity: AnswerIdentity) -> str:
    """What an answer's own ids end in."""
    return identity.id.removeprefix("chatcmpl-")


def ending(finish: Any) -> tuple[str, dict[str, str | None] | None]:
    """Status and `incomplete_details` for a finish reason of the hub; None: the provider gave none."""
    if not finish:
        return "incomplete", {"reason": None}
    reason = _INCOMPLETE.get(finish) if isinstance(finish, str) else None
    return ("incomplete", {"reason": reason}) if reason else ("completed", None)


def usage_from_hub(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, dict) or not usage:
        return None
    prompt = as_dict(usage.get("prompt_tokens_details"))
    answer = as_dict(usage.get("completion_tokens_details"))
    asked, said = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    # DeepSeek and xAI count some of it in the open, OpenRouter names what was written its own way.
    cached = _count(prompt, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    written = _count(prompt, "cache_write_tokens") or _count(prompt, "cache_creation_tokens")
    reasoned = _count(answer, "reasoning_tokens") or _count(usage, "reasoning_tokens")
    told = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": reasoned},
        "total_tokens": _count(usage, "total_tokens") or asked + said,
    }
    return told | {k: v for k, v in usage.items() if k not in _COUNTS and v is not None}


def usage_to_hub(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    asked, said = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    prompt = as_dict(usage.get("input_tokens_details"))
    answer = as_dict(usage.get("output_tokens_details"))
    told = {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": _count(usage, "total_tokens") or asked + said,
        "prompt_tokens_details": {**prompt, "cached_tokens": _count(prompt, "cached_tokens")},
        "completion_tokens_details": {**answer, "reasoning_tokens": _count(answer, "reasoning_tokens")},
    }
    return told | {k: v for k, v in usage.items() if k not in _NATIVE_COUNTS and v is not None}


def failure(error: RouterError) -> dict[str, str]:
    """What a failed response tells of the error, in the few codes that the API has for it."""
    if error.status == 429:
        return {"code": "rate_limit_exceeded", "message": error.message}
    return {"code": "server_error", "message": error.message}


def error_body(error: RouterError) -> dict[str, Any]:
    """The hub's fields are called by the names that this API has for them."""
    told = error.body()
    name = (error.param or "").partition("[")[0]
    if name in _FIELDS:  # of a message nobody can tell here which item it was
        told["error"]["param"] = _FIELDS[name]
    return told


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def _given(body: dict[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
