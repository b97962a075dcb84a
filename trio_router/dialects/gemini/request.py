"""A chat request in OpenAI's shape -> the body of `generateContent`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.chat_fields import format_of
from trio_router.dialects.gemini.conversation import GeminiConversation
from trio_router.dialects.gemini.thinking import thinking
from trio_router.dialects.gemini.tools import tool_config, tools
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

# OpenAI's sampling fields and their names in `generationConfig`.
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "topP",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_INTEGERS = {
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "top_k": "topK",
    "seed": "seed",
}
# The API's own fields, which a client may name as they are.
_NATIVE = {
    "safetySettings": "safetySettings",
    "safety_settings": "safetySettings",
    "cachedContent": "cachedContent",
    "cached_content": "cachedContent",
    "labels": "labels",
}
# Read below, or of no consequence for the answer: `stream_options` (usage always comes), who asks,
# what the provider may remember.  All else has no word here.
_READ = frozenset(
    {
        *_NUMBERS,
        *_INTEGERS,
        *_NATIVE,
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        "stop",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "modalities",
        "generationConfig",
        "generation_config",
        "extra_body",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "metadata",
        "store",
    }
)
_MODALITIES = {"text": "TEXT", "image": "IMAGE"}


def build_body(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body; `request` is not changed.  Raises InvalidRequest for what the API cannot do."""
    for name, value in request.items():
        if name not in _READ and value not in (None, False, [], {}):
            unsupported.field(name)
    if request.get("parallel_tool_calls") is False and request.get("tools"):
        unsupported.field("parallel_tool_calls", "it cannot be kept from calling tools in parallel")
    body = _conversation(request, unsupported)
    if request.get("tools"):
        body["tools"] = tools(request["tools"], unsupported)
        if config := tool_config(request, unsupported):
            body["toolConfig"] = {"functionCallingConfig": config}
    own = _google(request)
    if config := _config(request, own, unsupported):
        body["generationConfig"] = config
    for fields in (own, request):
        body |= {_NATIVE[k]: v for k, v in fields.items() if k in _NATIVE and v is not None}
    return body


def _conversation(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    messages = request.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest("messages must be an array", param="messages")
    talk = GeminiConversation(unsupported, request.get("model"))
    for number, message in enumerate(messages):
        talk.add(message, f"messages[{number}]")
    if not talk.turns:  # the API wants at least one: what the system says is what is asked
        return {"contents": [{"role": "user", "parts": talk.system or [{"text": ""}]}]}
    told: dict[str, Any] = {"contents": talk.turns}
    if talk.system:
        told["systemInstruction"] = {"parts": talk.system}
    return told


def _google(request: dict[str, Any]) -> dict[str, Any]:
    """What Google's own OpenAI-compatible endpoint takes beside OpenAI's fields."""
    extra = request.get("extra_body")
    own = extra.get("google") if isinstance(extra, dict) else None
    return own if isinstance(own, dict) else {}


def _config(request: dict[str, Any], own: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    config = {
        theirs: request[ours] for ours, theirs in _NUMBERS.items() if request.get(ours) is not None
    }
    for ours, theirs in _INTEGERS.items():
        if request.get(ours) is not None:
            config[theirs] = _integer(request[ours], ours)
    if (count := _integer(request.get("n") or 1, "n")) != 1:
        config["candidateCount"] = count
    if stops := _stops(request.get("stop")):
        config["stopSequences"] = stops
    if request.get("logprobs"):
        config["responseLogprobs"] = True
        if request.get("top_logprobs"):
            config["logprobs"] = _integer(request["top_logprobs"], "top_logprobs")
    if (modalities := request.get("modalities")) not in (None, [], ["text"]):
        if isinstance(modalities, list) and all(m in tuple(_MODALITIES) for m in modalities):
            config["responseModalities"] = [_MODALITIES[m] for m in modalities]
        else:
            unsupported.field("modalities", "it answers in text and images only")
    config |= _format(request.get("response_format"))
    planned = own.get("thinking_config") or thinking(request, unsupported)
    if planned is not None:
        config["thinkingConfig"] = planned
    for name in ("generation_config", "generationConfig"):
        if isinstance(request.get(name), dict):
            config |= request[name]
    return config


def _integer(value: Any, name: str) -> int:
    if isinstance(value, int | float) and int(value) == value:
        return int(value)
    raise InvalidRequest(f"{name} must be an integer", param=name)


def _stops(stop: Any) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise InvalidRequest("stop must be a string or an array of strings", param="stop")
    return stops


def _format(wanted: Any) -> dict[str, Any]:
    kind, schema = format_of(wanted, "Gemini")
    told: dict[str, Any] = {} if kind == "text" else {"responseMimeType": "application/json"}
    if schema is not None:
        told["responseJsonSchema"] = schema  # not `responseSchema`: it takes a part of JSON Schema only
    return told
