"""The hub's messages -> those of Cohere's chat API, which are nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.chat_fields import role_of
from trio_router.dialects.media import data_url
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported


def messages(given: Any, unsupported: Unsupported) -> list[dict[str, Any]]:
    """Raises InvalidRequest, which names the field."""
    if not isinstance(given, list):
        raise InvalidRequest("messages must be an array", param="messages")
    known: list[str] = []  # ids of calls that wait for their results
    return [_message(m, f"messages[{i}]", known, unsupported) for i, m in enumerate(given)]


def _message(message: Any, place: str, known: list[str], unsupported: Unsupported) -> dict[str, Any]:
    role = role_of(message, place, unsupported)
    content = _content(message.get("content"), f"{place}.content", role, unsupported)
    told: dict[str, Any] = {"role": "system" if role == "developer" else role}
    if content or role != "assistant":
        told["content"] = content
    match role:
        case "assistant":
            told |= _assistant(message, place, known, unsupported)
            if told.keys() == {"role"}:
                told["content"] = ""
        case "tool":
            call_id = message.get("tool_call_id")
            if call_id not in known:
                where = f"{place}.tool_call_id"
                raise InvalidRequest(f"{where}: no call before it has this id", param=where)
            known.remove(call_id)
            told["tool_call_id"] = call_id
    return told


def _assistant(
    message: dict[str, Any], place: str, known: list[str], unsupported: Unsupported
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if not message.get("content") and isinstance(message.get("refusal"), str):
        told["content"] = message["refusal"]
    if message.get("audio"):
        unsupported.field(f"{place}.audio")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidRequest(f"{place}.tool_calls must be an array", param=f"{place}.tool_calls")
    if calls:
        told["tool_calls"] = [_call(call, f"{place}.tool_calls[{i}]") for i, call in enumerate(calls)]
        known[:] = [call["id"] for call in told["tool_calls"]]
        if isinstance(plan := message.get("reasoning_content"), str) and plan:
            told["tool_plan"] = plan
    return told


def _call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = dumps_text(arguments)
    if not isinstance(arguments, str | None):
        where = f"{place}.function.arguments"
        raise InvalidRequest(f"{where} must be a string", param=where)
    if not isinstance(call.get("id"), str):
        raise InvalidRequest(f"{place}.id must be a string", param=f"{place}.id")
    told = {"name": function["name"], "arguments": arguments or "{}"}
    return {"id": call["id"], "type": "function", "function": told}


def _content(content: Any, place: str, role: str, unsupported: Unsupported) -> Any:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or an array", param=place)
    made = [_part(part, f"{place}[{i}]", role, unsupported) for i, part in enumerate(content)]
    return [part for part in made if part is not None]


def _part(part: Any, place: str, role: str, unsupported: Unsupported) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    kind = part.get("type")
    match kind:
        case "text" | "refusal":
            if not isinstance(part.get(kind), str):
                raise InvalidRequest(f"{place}.{kind} must be a string", param=f"{place}.{kind}")
            return {"type": "text", "text": part[kind]}
        case "image_url" if role == "user":
            return _image(part.get("image_url"), f"{place}.image_url")
        case "document" if role == "tool":  # the API's own, for results that are to be cited
            return part
        case "image_url" | "input_audio" | "file":
            unsupported.field(place, f"{place}: {kind} is not supported here")
            return None
    raise InvalidRequest(f"{place}.type is no part that Cohere takes", param=f"{place}.type")


def _image(image: Any, place: str) -> dict[str, Any]:
    given = image if isinstance(image, dict) else {"url": image}
    url = given.get("url")
    if not isinstance(url, str):
        raise InvalidRequest(f"{place} must have a URL", param=place)
    inline = data_url(url, place)
    if inline is not None and not inline[0].startswith("image/"):
        raise InvalidRequest(f"{place} is no image: {inline[0] or 'no media type'}", param=place)
    if inline is None and not url.lower().startswith(("https://", "http://")):
        raise InvalidRequest(f"{place} must be an http(s): or data: URL", param=place)
    detail = {"detail": given["detail"]} if given.get("detail") is not None else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}
