"""A chat request in OpenAI's shape -> the body of `POST /v2/chat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.chat_fields import format_of
from trio_router.dialects.cohere.messages import messages
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

# OpenAI's fields and Cohere's names for them.
_FIELDS = {
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
}
# The API's own fields, which a client may name as they are.
_NATIVE = (
    "p",
    "k",
    "documents",
    "citation_options",
    "safety_mode",
    "strict_tools",
    "thinking",
    "priority",
    "stop_sequences",
)
# Read below, or of no consequence for the answer: `stream_options` (usage always comes), who asks,
# what the provider may remember.  All else has no word here.
_READ = frozenset(
    {
        *_FIELDS,
        *_NATIVE,
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "modalities",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "metadata",
        "store",
    }
)
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 31000}  # tokens


def build_body(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body; `request` is not changed.  Raises InvalidRequest for what the API cannot do."""
    _refuse_what_it_cannot(request, unsupported)
    body: dict[str, Any] = {
        "model": request.get("model"),
        "messages": messages(request.get("messages"), unsupported),
        "stream": bool(request.get("stream")),
    }
    body |= {v: request[k] for k, v in _FIELDS.items() if request.get(k) is not None}
    if stops := _stops(request.get("stop")):
        body["stop_sequences"] = stops
    if request.get("tools"):
        body |= _tools(request, unsupported)
    if (format_ := _format(request.get("response_format"))) is not None:
        body["response_format"] = format_
    if (effort := request.get("reasoning_effort")) is not None:
        body["thinking"] = _thinking(effort)
    return body | {k: request[k] for k in _NATIVE if request.get(k) is not None}


def _refuse_what_it_cannot(request: dict[str, Any], unsupported: Unsupported) -> None:
    for name, value in request.items():
        if name not in _READ and value not in (None, False, [], {}):
            unsupported.field(name)
    if (request.get("n") or 1) != 1:
        unsupported.field("n", "it gives one answer: n must be 1")
    if request.get("modalities") not in (None, [], ["text"]):
        unsupported.field("modalities", "it answers in text only")
    if request.get("parallel_tool_calls") is False and request.get("tools"):
        unsupported.field("parallel_tool_calls", "it cannot be kept from calling tools in parallel")


def _stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise InvalidRequest("stop must be a string or an array of strings", param="stop")
    return stops


def _tools(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    if not isinstance(request["tools"], list):
        raise InvalidRequest("tools must be an array", param="tools")
    made = [_tool(tool, f"tools[{i}]", unsupported) for i, tool in enumerate(request["tools"])]
    functions = [tool for tool in made if tool is not None]
    told: dict[str, Any] = {"tools": functions} if functions else {}
    if any(tool["function"].get("strict") is True for tool in request["tools"] if _is_function(tool)):
        told["strict_tools"] = True
    match request.get("tool_choice"):
        case None | "auto":
            pass
        case "none":
            told["tool_choice"] = "NONE"
        case "required":
            told["tool_choice"] = "REQUIRED"
        case {"type": "function", "function": {"name": str() as name}}:
            # "REQUIRED" asks for any of the tools; so that one is the only one there is.
            told["tools"] = [tool for tool in functions if tool["function"]["name"] == name]
            if not told["tools"]:
                raise InvalidRequest("tool_choice names no tool", param="tool_choice")
            told["tool_choice"] = "REQUIRED"
        case {"type": "allowed_tools"} | {"type": "custom"}:
            unsupported.field("tool_choice", "tool_choice is of a type that is not supported")
        case _:
            raise InvalidRequest("tool_choice is none that is known", param="tool_choice")
    return told


def _tool(tool: Any, place: str, unsupported: Unsupported) -> dict[str, Any] | None:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise InvalidRequest(f"{place} must be an object with a type", param=place)
    if tool["type"] != "function":
        unsupported.field(place, f"{place}: tools of type {tool['type']!r} are not supported")
        return None
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        where = f"{place}.function.parameters"
        raise InvalidRequest(f"{where} must be an object", param=where)
    told = {"name": function["name"], "parameters": parameters or {"type": "object", "properties": {}}}
    if function.get("description"):
        told["description"] = function["description"]
    return {"type": "function", "function": told}


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), dict)


def _format(wanted: Any) -> dict[str, Any] | None:
    kind, schema = format_of(wanted, "Cohere")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = wanted.get("json_schema")  # where the API itself has the schema
    return {"type": "json_object", **({"json_schema": schema} if isinstance(schema, dict) else {})}


def _thinking(effort: Any) -> dict[str, Any]:
    if effort == "none":
        return {"type": "disabled"}
    if effort not in tuple(_BUDGETS):
        raise InvalidRequest("reasoning_effort is none that is known", param="reasoning_effort")
    return {"type": "enabled", "token_budget": _BUDGETS[effort]}
