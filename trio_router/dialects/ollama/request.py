"""A chat request in OpenAI's shape -> the body of Ollama's `POST /api/chat`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_router.dialects.chat_fields import format_of
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import JSONError, loads_text

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

# OpenAI's sampling fields and the names they have in Ollama's `options`.
OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}
# Ollama's own fields, which a client may name as they are.
_NATIVE = ("keep_alive", "think", "format", "template", "raw", "suffix", "truncate", "shift")
# What asks for something that Ollama's chat API has no word for.
_REFUSED = ("functions", "function_call", "logit_bias", "audio", "prediction", "modalities")
_DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


def build_body(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body; `request` is not changed.  Raises InvalidRequest for what Ollama cannot do."""
    _refuse_what_it_cannot(request, unsupported)
    body: dict[str, Any] = {
        "model": request.get("model"),
        "messages": _messages(request.get("messages")),
        "stream": bool(request.get("stream")),
    }
    if options := options_of(request):
        body["options"] = options
    if (format_ := response_format(request.get("response_format"))) is not None:
        body["format"] = format_
    if (effort := request.get("reasoning_effort")) is not None:
        body["think"] = think_of(effort)
    if request.get("tools") and request.get("tool_choice") != "none":
        body["tools"] = request["tools"]
    body |= {name: request[name] for name in _NATIVE if name in request}
    return body


def _refuse_what_it_cannot(request: dict[str, Any], unsupported: Unsupported) -> None:
    for name in _REFUSED:
        if request.get(name) and request[name] != ["text"]:
            unsupported.field(name)
    if (request.get("n") or 1) != 1:
        unsupported.field("n", "it gives one answer: n must be 1")
    if request.get("tool_choice") not in (None, "auto", "none"):
        unsupported.field("tool_choice", "it cannot be made to call a tool")
    if request.get("logprobs"):
        unsupported.field("logprobs")


def options_of(request: dict[str, Any]) -> dict[str, Any]:
    """The `options` of a request: those that stand there, and those under the hub's names."""
    options = {
        theirs: request[ours] for ours, theirs in OPTIONS.items() if request.get(ours) is not None
    }
    stop = request.get("stop")
    if stop is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    own = request.get("options")
    return {**options, **own} if isinstance(own, dict) else options


def response_format(wanted: Any) -> Any:
    """`format` for the hub's `response_format`; None for text.  Raises InvalidRequest."""
    kind, schema = format_of(wanted, "Ollama")
    return "json" if kind == "json_object" else schema


def think_of(effort: Any) -> bool | str:
    """`think` for the hub's `reasoning_effort`."""
    if effort in ("none", "minimal"):
        return False
    return effort if effort in ("low", "medium", "high") else True


def _messages(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise InvalidRequest("messages must be an array", param="messages")
    names: dict[str, str] = {}  # tool call id -> the tool's name, which a result must tell Ollama
    return [_message(m, f"messages[{i}]", names) for i, m in enumerate(messages)]


def _message(message: Any, place: str, names: dict[str, str]) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    role = message.get("role")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise InvalidRequest(f"{place}.role is not a known role", param=f"{place}.role")
    text, images = _content(message.get("content"), f"{place}.content")
    told: dict[str, Any] = {"role": "system" if role == "developer" else role, "content": text}
    if images:
        told["images"] = images
    if thinking := message.get("reasoning_content"):
        told["thinking"] = thinking
    if calls := message.get("tool_calls"):
        told["tool_calls"] = [_tool_call(c, f"{place}.tool_calls", names) for c in calls]
    if role == "tool":
        call_id = str(message.get("tool_call_id", ""))
        if name := message.get("name") or names.get(call_id):
            told["tool_name"] = name
        told["tool_call_id"] = call_id
    return told


def _content(content: Any, place: str) -> tuple[str, list[str]]:
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or an array", param=place)
    texts: list[str] = []
    images: list[str] = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        where = f"{place}[{i}]"
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), where))
        else:
            raise InvalidRequest(f"{where} is no part that Ollama takes", param=where)
    return "\n".join(texts), images


def _image(image: Any, place: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    if isinstance(url, str) and (head := _DATA_URL.match(url, 0, 1024)):
        return url[head.end() :]
    raise InvalidRequest(f"{place}: Ollama takes images as data: URLs in base64 only", param=place)


def _tool_call(call: Any, place: str, names: dict[str, str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise InvalidRequest(f"{place}: a call has no function", param=place)
    name = str(function.get("name", ""))
    names[str(call.get("id", ""))] = name
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, str):
        try:
            arguments = loads_text(arguments)
        except JSONError:
            raise InvalidRequest(f"{place}: arguments are not JSON", param=place) from None
    told: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    if call.get("id"):
        told["id"] = call["id"]
    return told
