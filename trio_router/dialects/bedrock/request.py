"""A chat request in OpenAI's shape -> the body of Converse and ConverseStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.bedrock.messages import BedrockConversation
from trio_router.dialects.bedrock.parts import cache_point
from trio_router.dialects.bedrock.reasoning import Thinking, is_claude, plan
from trio_router.dialects.chat_fields import format_of
from trio_router.dialects.hub import as_dict
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported
    from trio_router.dialects.bedrock.words import Block

# The API's own fields, which a client may name as they are.
_NATIVE = (
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "additionalModelResponseFieldPaths",
)
# Read below, or of no consequence for the answer: `stream_options` (usage always comes), who asks,
# what the provider may remember or edit.  All else has no word here.
_READ = frozenset(
    {
        *_NATIVE,
        "additionalModelRequestFields",
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "n",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "thinking",
        "output_config",
        "response_format",
        "service_tier",
        "modalities",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "cache_control",
        "context_management",
        "store",
    }
)
_TIERS = frozenset({"priority", "default", "flex", "reserved"})


def build_body(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body; `request` is not changed.  Raises InvalidRequest for what the API cannot do."""
    _refuse_what_it_cannot(request, unsupported)
    model = str(request.get("model"))
    talk = _conversation(request, unsupported)
    thinking = plan(request, model, unsupported)
    more = dict(thinking.more)
    told: dict[str, Any] = {"messages": talk.turns}
    if talk.system:
        told["system"] = talk.system
    if config := _inference(request, thinking, model, more, unsupported):
        told["inferenceConfig"] = config
    if tools := _tool_config(request, talk.called, more, unsupported):
        told["toolConfig"] = tools
    if output := _output(request, thinking, unsupported):
        told["outputConfig"] = output
    told |= _account(request, unsupported)
    told |= {name: request[name] for name in _NATIVE if request.get(name) is not None}
    if more := more | as_dict(request.get("additionalModelRequestFields")):
        told["additionalModelRequestFields"] = more
    return told


def _refuse_what_it_cannot(request: dict[str, Any], unsupported: Unsupported) -> None:
    for name, value in request.items():
        if name not in _READ and value not in (None, False, [], {}):
            unsupported.field(name)
    if (request.get("n") or 1) != 1:
        unsupported.field("n", "it gives one answer: n must be 1")
    if request.get("modalities") not in (None, [], ["text"]):
        unsupported.field("modalities", "it answers in text only")


def _conversation(request: dict[str, Any], unsupported: Unsupported) -> BedrockConversation:
    messages = request.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest("messages must be an array", param="messages")
    talk = BedrockConversation(unsupported)
    for number, message in enumerate(messages):
        talk.add(message, f"messages[{number}]")
    talk.end(request)
    return talk


def _inference(
    request: dict[str, Any],
    thinking: Thinking,
    model: str,
    more: dict[str, Any],
    unsupported: Unsupported,
) -> dict[str, Any]:
    """`inferenceConfig`; what the models alone know goes into `more`."""
    told: dict[str, Any] = {}
    if thinking.max_tokens is not None:
        told["maxTokens"] = thinking.max_tokens
    asked = {name: request.get(name) for name in ("temperature", "top_p", "top_k")}
    if thinking.is_claudes:
        # "Thinking isn't compatible with temperature or top_k modifications".
        is_fine = {
            "temperature": asked["temperature"] == 1,
            "top_p": (asked["top_p"] or 0) >= 0.95,
            "top_k": False,
        }
        for name, value in asked.items():
            if value is not None and not is_fine[name]:
                unsupported.field(name, f"{name} cannot be chosen together with thinking")
                asked[name] = None
    if asked["temperature"] is not None:
        told["temperature"] = asked["temperature"]
    if asked["top_p"] is not None:
        told["topP"] = asked["top_p"]
    if asked["top_k"] is not None:
        more |= (
            {"inferenceConfig": {"topK": asked["top_k"]}}
            if "nova" in model
            else {"top_k": asked["top_k"]}
        )
    if stops := _stops(request.get("stop"), unsupported):
        told["stopSequences"] = stops
    return told


def _stops(stop: Any, unsupported: Unsupported) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise InvalidRequest("stop must be a string or an array of strings", param="stop")
    if any(not s for s in stops):
        unsupported.field("stop", "a stop sequence must not be empty")
    return [s for s in stops if s]


def _tool_config(
    request: dict[str, Any], called: list[str], more: dict[str, Any], unsupported: Unsupported
) -> dict[str, Any]:
    given = request.get("tools") or []
    if not isinstance(given, list):
        raise InvalidRequest("tools must be an array", param="tools")
    tools: list[Block] = []
    for number, tool in enumerate(given):
        tools += _tool(tool, f"tools[{number}]", unsupported)
    choice = _choice(request.get("tool_choice"), unsupported)
    if choice == {"none": {}}:
        choice = None
        if called:
            unsupported.field("tool_choice", "tools that were called before cannot be forbidden")
        else:
            return {}
    if not tools and called:
        # The API asks for the tools of calls that were made, whether they can be called again or not.
        tools = [{"toolSpec": {"name": name, "inputSchema": {"json": _ANY}}} for name in called]
    if not tools:
        return {}
    if request.get("parallel_tool_calls") is False:
        if is_claude(str(request.get("model"))):
            kind = {"auto": "auto", "any": "any", "tool": "tool"}[next(iter(choice or {"auto": {}}))]
            named = (choice or {}).get("tool", {})
            more["tool_choice"] = {"type": kind, **named, "disable_parallel_tool_use": True}
            choice = None
        else:
            unsupported.field("parallel_tool_calls", "it cannot be kept from calling tools in parallel")
    return {"tools": tools} | ({"toolChoice": choice} if choice else {})


_ANY = {"type": "object", "properties": {}}


def _tool(tool: Any, place: str, unsupported: Unsupported) -> list[Block]:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    if tool.get("type") != "function":
        unsupported.field(place, f"{place}: tools of type {tool.get('type')!r} are not supported")
        return []
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        where = f"{place}.function.parameters"
        raise InvalidRequest(f"{where} must be an object", param=where)
    schema = parameters or _ANY
    schema = schema if "type" in schema else {"type": "object", **schema}
    told: Block = {"name": function["name"], "inputSchema": {"json": schema}}
    if function.get("description"):
        told["description"] = function["description"]
    if function.get("strict") is not None:
        told["strict"] = function["strict"]
    return [{"toolSpec": told}, *cache_point(tool)]


def _choice(choice: Any, unsupported: Unsupported) -> dict[str, Any] | None:
    match choice:
        case None | "auto":
            return None
        case "none":
            return {"none": {}}
        case "required":
            return {"any": {}}
        case {"type": "function", "function": {"name": str() as name}}:
            return {"tool": {"name": name}}
        case {"type": "allowed_tools"} | {"type": "custom"}:
            unsupported.field("tool_choice", "tool_choice is of a type that is not supported")
            return None
    raise InvalidRequest("tool_choice is none that is known", param="tool_choice")


def _output(request: dict[str, Any], thinking: Thinking, unsupported: Unsupported) -> dict[str, Any]:
    told: dict[str, Any] = {} if thinking.effort is None else {"effort": thinking.effort}
    wanted = request.get("response_format")
    kind, schema = format_of(wanted, "Bedrock")
    if kind == "json_object":
        unsupported.field("response_format", "json_object is not supported, json_schema is")
    if schema is not None:
        asked = {"schema": dumps_text(schema)}
        if isinstance(name := as_dict(as_dict(wanted).get("json_schema")).get("name"), str):
            asked["name"] = name
        told["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": asked}}
    return told


def _account(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    told: dict[str, Any] = {}
    metadata = {k: v for k, v in as_dict(request.get("metadata")).items() if k != "user_id"}
    if metadata:
        if not all(isinstance(value, str) for value in metadata.values()):
            raise InvalidRequest("the values of metadata must be strings", param="metadata")
        told["requestMetadata"] = metadata
    if (tier := request.get("service_tier")) not in (None, "auto"):
        if isinstance(tier, str) and tier in _TIERS:
            told["serviceTier"] = {"type": tier}
        else:
            unsupported.field("service_tier", f"there is no service tier {tier!r}")
    return told
