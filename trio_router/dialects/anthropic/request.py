"""A chat request in OpenAI's shape -> the body of `POST /v1/messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.conversation import AnthropicConversation
from trio_router.dialects.anthropic.models import takes_system_turns
from trio_router.dialects.anthropic.thinking import ThinkingPlan, plan
from trio_router.dialects.anthropic.tools import tool_choice, tools
from trio_router.dialects.chat_fields import format_of
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

# What asks for something that the Messages API has no word for.
_REFUSED = (
    "functions",
    "function_call",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "audio",
    "prediction",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "repeat_penalty",
    "min_p",
    "verbosity",
    "web_search_options",
    "store",
)
# Read below, or of no consequence for the answer: `stream_options` (usage always comes), cache keys.
_READ = frozenset(
    {
        *_REFUSED,
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
        "seed",
        "modalities",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "thinking",
        "response_format",
        "output_config",
        "service_tier",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def build_body(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body; `request` is not changed.  Raises InvalidRequest for what the API cannot do.

    Fields nobody here has heard of are passed on: they may be the API's own newest.
    """
    _refuse_what_it_cannot(request, unsupported)
    asked = plan(request, unsupported)
    body: dict[str, Any] = {"model": request.get("model"), "max_tokens": asked.max_tokens}
    body |= _conversation(request, unsupported)
    if request.get("stream"):
        body["stream"] = True
    if request.get("tools"):
        body["tools"] = tools(request["tools"], unsupported)
        if choice := tool_choice(request, unsupported, thinks=asked.is_on):
            body["tool_choice"] = choice
    body |= _sampling(request, asked, unsupported)
    if asked.thinking is not None:
        body["thinking"] = asked.thinking
    if config := _output_config(request, asked, unsupported):
        body["output_config"] = config
    body |= _account(request, unsupported)
    return {k: v for k, v in request.items() if k not in _READ and v is not None} | body


def _refuse_what_it_cannot(request: dict[str, Any], unsupported: Unsupported) -> None:
    for name in _REFUSED:
        if request.get(name):
            unsupported.field(name)
    if (request.get("n") or 1) != 1:
        unsupported.field("n", "it gives one answer: n must be 1")
    if request.get("seed") is not None:
        unsupported.field("seed")
    if request.get("modalities") not in (None, [], ["text"]):
        unsupported.field("modalities", "it answers in text only")


def _conversation(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    messages = request.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest("messages must be an array", param="messages")
    talk = AnthropicConversation(unsupported, system_turns=takes_system_turns(request.get("model")))
    for number, message in enumerate(messages):
        talk.add(message, f"messages[{number}]")
    told: dict[str, Any] = {"messages": talk.turns}
    if talk.system:
        only = talk.system[0] if len(talk.system) == 1 else {}
        told["system"] = only["text"] if only.keys() == {"type", "text"} else talk.system
    return told


def _sampling(request: dict[str, Any], asked: ThinkingPlan, unsupported: Unsupported) -> dict[str, Any]:
    told = {k: request[k] for k in ("temperature", "top_p", "top_k") if request.get(k) is not None}
    if told.get("temperature", 0) > 1:
        unsupported.field("temperature", "temperature must be at most 1")
        del told["temperature"]
    if asked.is_on:
        # "Thinking isn't compatible with temperature or top_k modifications"; top_p from 0.95 to 1.
        for name, is_fine in (
            ("temperature", told.get("temperature") == 1),
            ("top_p", told.get("top_p", 0) >= 0.95),
            ("top_k", False),
        ):
            if name in told and not is_fine:
                unsupported.field(name, f"{name} cannot be chosen together with thinking")
                del told[name]
    if stops := _stops(request.get("stop"), unsupported):
        told["stop_sequences"] = stops
    return told


def _stops(stop: Any, unsupported: Unsupported) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise InvalidRequest("stop must be a string or an array of strings", param="stop")
    if any(not s.strip() for s in stops):
        unsupported.field("stop", "a stop sequence must not be mere white space")
    return [s for s in stops if s.strip()]


def _output_config(
    request: dict[str, Any], asked: ThinkingPlan, unsupported: Unsupported
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if asked.effort is not None:
        config["effort"] = asked.effort
    if (format_ := _format(request.get("response_format"), unsupported)) is not None:
        config["format"] = format_
    own = request.get("output_config")
    return config | own if isinstance(own, dict) else config


def _format(wanted: Any, unsupported: Unsupported) -> dict[str, Any] | None:
    """ "Structured outputs": a schema, and nothing like OpenAI's `json_object`."""
    kind, schema = format_of(wanted, "Anthropic")
    if kind == "json_object":
        unsupported.field("response_format", "json_object is not supported, json_schema is")
    return None if schema is None else {"type": "json_schema", "schema": schema}


def _account(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    told: dict[str, Any] = {}
    metadata = request.get("metadata") or {}
    if any(name != "user_id" for name in metadata):
        unsupported.field("metadata", "metadata holds nothing but user_id")
    user = metadata.get("user_id") or request.get("user") or request.get("safety_identifier")
    if user:
        told["metadata"] = {"user_id": user}
    if (tier := request.get("service_tier")) is not None:
        if isinstance(tier, str) and tier in _TIERS:
            told["service_tier"] = _TIERS[tier]
        else:
            unsupported.field("service_tier", f"there is no service tier {tier!r}")
    return told
