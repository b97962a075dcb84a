"""A Messages request -> a chat request in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.anthropic.client_messages import Messages, system_content
from trio_router.dialects.anthropic.words import MIN_BUDGET
from trio_router.errors import InvalidRequest

_NUMBER = (int, float)
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "a string"),
    "max_tokens": ((int,), "an integer"),
    "messages": ((list,), "an array"),
    "system": ((str, list), "a string or an array"),
    "stream": ((bool,), "a boolean"),
    "temperature": (_NUMBER, "a number"),
    "top_p": (_NUMBER, "a number"),
    "top_k": ((int,), "an integer"),
    "stop_sequences": ((list,), "an array of strings"),
    "tools": ((list,), "an array"),
    "tool_choice": ((dict,), "an object"),
    "thinking": ((dict,), "an object"),
    "metadata": ((dict,), "an object"),
    "output_config": ((dict,), "an object"),
    "output_format": ((dict,), "an object"),
    "service_tier": ((str,), "a string"),
    "cache_control": ((dict,), "an object"),
    "mcp_servers": ((list,), "an array"),
    "context_management": ((dict,), "an object"),
}
# The hub's own names, which mean nothing in this API: it refuses them too.
_FOREIGN = frozenset(
    {
        "n",
        "stop",
        "seed",
        "user",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "frequency_penalty",
        "presence_penalty",
        "functions",
        "function_call",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "max_completion_tokens",
        "stream_options",
        "modalities",
        "audio",
        "prediction",
    }
)
_REQUIRED = ("model", "max_tokens", "messages")
_AS_IT_IS = ("model", "max_tokens", "temperature", "top_p", "top_k", "thinking")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_FUNCTION_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict"})


def chat_request(body: dict[str, Any]) -> dict[str, Any]:
    """Fields that only the API itself has a meaning for keep their names, and so reach a target that
    speaks it.  Raises InvalidRequest.
    """
    check_kinds(body)
    told = {name: body[name] for name in _AS_IT_IS if body.get(name) is not None}
    messages = Messages()
    if body.get("system"):
        messages.made.append({"role": "system", "content": system_content(body["system"], "system")})
    for number, message in enumerate(body["messages"]):
        messages.add(message, f"messages[{number}]")
    told["messages"] = messages.made
    if body.get("stream"):
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    if body.get("stop_sequences"):
        told["stop"] = body["stop_sequences"]
    if body.get("tools"):
        told["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(body["tools"])]
    told |= _tool_choice(body.get("tool_choice"))
    told |= _output(body)
    told |= _account(body)
    return {k: v for k, v in body.items() if k not in _KINDS and v is not None} | told | _own(body)


def check_kinds(body: dict[str, Any]) -> None:
    """Raises InvalidRequest for a field that is missing, of the wrong type or of another API."""
    for name in _REQUIRED:
        if body.get(name) is None:
            raise InvalidRequest(f"{name}: field required", param=name)
    for name, (kinds, words) in _KINDS.items():
        value = body.get(name)
        if value is not None and not _is(value, kinds):
            raise InvalidRequest(f"{name} must be {words}", param=name)
    for name in sorted(_FOREIGN & body.keys()):
        raise InvalidRequest(f"{name}: extra inputs are not permitted", param=name)
    if not body["model"]:
        raise InvalidRequest("model must not be empty", param="model")
    if body["max_tokens"] < 0:
        raise InvalidRequest("max_tokens must not be negative", param="max_tokens")
    if not body["messages"]:
        raise InvalidRequest("messages must not be empty", param="messages")
    if not 0 <= (body.get("temperature") or 0) <= 1:
        raise InvalidRequest("temperature must be from 0 to 1", param="temperature")
    for number, stop in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(stop, str):
            where = f"stop_sequences[{number}]"
            raise InvalidRequest(f"{where} must be a string", param=where)


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # which Python takes for an integer
        return bool in kinds
    return isinstance(value, kinds)


def _tool(tool: Any, place: str) -> dict[str, Any]:
    """A server's tool is kept as it is: a target that has no such tool refuses it."""
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    kind = tool.get("type")
    if not isinstance(kind, str | None):
        raise InvalidRequest(f"{place}.type must be a string", param=f"{place}.type")
    if kind not in (None, "custom"):
        return tool
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise InvalidRequest(f"{place}.name must be a string", param=f"{place}.name")
    if not isinstance(tool.get("input_schema"), dict):
        where = f"{place}.input_schema"
        raise InvalidRequest(f"{where} must be an object", param=where)
    function = {"name": tool["name"]}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    function["parameters"] = tool["input_schema"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    extra = {k: v for k, v in tool.items() if k not in _FUNCTION_FIELDS and v is not None}
    return {"type": "function", "function": function, **extra}


def _tool_choice(choice: dict[str, Any] | None) -> dict[str, Any]:
    if choice is None:
        return {}
    kind, name = choice.get("type"), choice.get("name")
    told: dict[str, Any] = {}
    if kind == "tool" and isinstance(name, str):
        told["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif isinstance(kind, str) and kind in _CHOICES:
        told["tool_choice"] = _CHOICES[kind]
    else:
        raise InvalidRequest("tool_choice.type is none that is known", param="tool_choice")
    if choice.get("disable_parallel_tool_use"):
        told["parallel_tool_calls"] = False
    return told


def _output(body: dict[str, Any]) -> dict[str, Any]:
    """Structured output and effort; the older `output_format` says what `output_config.format` does."""
    config = body.get("output_config") or {}
    told: dict[str, Any] = {}
    for place, format_ in (
        ("output_format", body.get("output_format")),
        ("output_config.format", config.get("format")),
    ):
        if format_ is not None:
            told["response_format"] = _response_format(format_, place)
    effort = config.get("effort")
    if effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            where = "output_config.effort"
            raise InvalidRequest(f"{where} is none that is known", param=where)
        told["reasoning_effort"] = _EFFORTS[effort]
    return told | _thinking_effort(body.get("thinking"))


def _thinking_effort(thinking: dict[str, Any] | None) -> dict[str, Any]:
    """What other targets know thinking by; `thinking` itself stays beside it for those that know it."""
    if thinking is None:
        return {}
    match thinking.get("type"):
        case "disabled":
            return {"reasoning_effort": "none"}
        case "enabled":
            budget = thinking.get("budget_tokens")
            if isinstance(budget, bool) or not isinstance(budget, int) or budget < MIN_BUDGET:
                where = "thinking.budget_tokens"
                why = f"{where} must be an integer, at least {MIN_BUDGET}"
                raise InvalidRequest(why, param=where)
            return {"reasoning_effort": effort_of(budget)}
        case str():
            return {}
    raise InvalidRequest("thinking.type must be a string", param="thinking.type")


def effort_of(budget: int) -> str:
    """The effort whose own budget is nearest below."""
    if budget < 4096:
        return "low"
    if budget < 16384:
        return "medium"
    return "high" if budget < 32768 else "xhigh"


def _response_format(format_: Any, place: str) -> dict[str, Any]:
    if not isinstance(format_, dict) or format_.get("type") != "json_schema":
        raise InvalidRequest(f"{place}.type must be json_schema", param=place)
    if not isinstance(format_.get("schema"), dict):
        raise InvalidRequest(f"{place}.schema must be an object", param=f"{place}.schema")
    schema = {"name": "output", "schema": format_["schema"], "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _account(body: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None:
        if not isinstance(user, str):
            raise InvalidRequest("metadata.user_id must be a string", param="metadata.user_id")
        told["user"] = user
    if (tier := body.get("service_tier")) is not None:
        told["service_tier"] = "default" if tier == "standard_only" else tier
    return told


def _own(body: dict[str, Any]) -> dict[str, Any]:
    """What the hub has no field for, under the API's own names."""
    told = {
        name: body[name]
        for name in ("cache_control", "mcp_servers", "context_management")
        if body.get(name) is not None
    }
    config = body.get("output_config") or {}
    # `effort` too: the API has it without thinking, which the hub has not, and `max` of its own.
    rest = {k: v for k, v in config.items() if k != "format" and v is not None}
    return told | {"output_config": rest} if rest else told
