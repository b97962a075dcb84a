"""Messages of Ollama's chat API -> the hub's messages."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.media import check_base64, data_url
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import dumps

Message = dict[str, Any]
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
# Images have no type in this API: how the base64 of each kind begins.
_IMAGES = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


def messages_of(given: list[Any]) -> list[Message]:
    """Raises InvalidRequest, which names the field."""
    calls = _Calls()
    return [_message(message, f"messages[{i}]", calls) for i, message in enumerate(given)]


def user_message(text: str, images: Any, place: str) -> Message:
    return {"role": "user", "content": _content(text, images, place)}


class _Calls:
    """The tool calls so far.  Most clients drop their ids: then results follow in the calls' order."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []  # ids and names of calls without a result
        self._ids: set[str] = set()

    def add(self, given: Any, name: str) -> str:
        """The id of a call to the tool `name`."""
        own = given if isinstance(given, str) and given else f"call_{self._count}"
        self._count += 1
        self._open.append((own, name))
        self._ids.add(own)
        return own

    def answered(self, given: Any, name: Any, place: str) -> str:
        """The id of the call whose result this is."""
        if isinstance(given, str) and given:
            if given not in self._ids:
                where = f"{place}.tool_call_id"
                raise InvalidRequest(f"{where}: no tool call before it has this id", param=where)
            found = given
        else:
            named = [own for own, known in self._open if known == name or not name]
            if not named:
                why = f"{place}: no tool call before it waits for this result"
                raise InvalidRequest(why, param=place)
            found = named[0]
        self._open = [call for call in self._open if call[0] != found]
        return found


def _message(message: Any, place: str, calls: _Calls) -> Message:
    if not isinstance(message, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    role = message.get("role")
    if role not in _ROLES:
        where = f"{place}.role"
        raise InvalidRequest(f"{where} must be system, user, assistant or tool", param=where)
    text = message.get("content")
    if not isinstance(text, str | None):
        raise InvalidRequest(f"{place}.content must be a string", param=f"{place}.content")
    if role == "tool":
        name = message.get("tool_name") or message.get("name")
        own = calls.answered(message.get("tool_call_id"), name, place)
        return {"role": "tool", "tool_call_id": own, "content": text or ""}
    made: Message = {"role": role, "content": _content(text or "", message.get("images"), place)}
    if role == "assistant":
        made |= _turn(message, place, calls)
    return made


def _turn(message: Message, place: str, calls: _Calls) -> Message:
    """What an assistant's message has beside its text."""
    told: Message = {}
    thinking = message.get("thinking")
    if not isinstance(thinking, str | None):
        raise InvalidRequest(f"{place}.thinking must be a string", param=f"{place}.thinking")
    if thinking:
        told["reasoning_content"] = thinking
    given = message.get("tool_calls")
    where = f"{place}.tool_calls"
    if not isinstance(given, list | None):
        raise InvalidRequest(f"{where} must be an array", param=where)
    if given:
        told["tool_calls"] = [_call(call, f"{where}[{i}]", calls) for i, call in enumerate(given)]
        if not message.get("content"):
            told["content"] = None
    return told


def _call(call: Any, place: str, calls: _Calls) -> Message:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise InvalidRequest(f"{place}: a call has no function", param=place)
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not name:
        where = f"{place}.function.name"
        raise InvalidRequest(f"{where} must be a string", param=where)
    if not isinstance(arguments, dict | str | None):
        where = f"{place}.function.arguments"
        raise InvalidRequest(f"{where} must be an object", param=where)
    text = arguments if isinstance(arguments, str) else dumps(arguments or {}).decode()
    told = {"name": name, "arguments": text}
    return {"id": calls.add(call.get("id"), name), "type": "function", "function": told}


def _content(text: str, images: Any, place: str) -> str | list[Message]:
    if not images:
        return text
    where = place if place.endswith("images") else f"{place}.images"
    if not isinstance(images, list):
        raise InvalidRequest(f"{where} must be an array", param=where)
    parts: list[Message] = [{"type": "text", "text": text}] if text else []
    return parts + [_image(image, f"{where}[{i}]") for i, image in enumerate(images)]


def _image(image: Any, place: str) -> Message:
    if not isinstance(image, str):
        raise InvalidRequest(f"{place} must be an image in base64", param=place)
    if data_url(image, place) is None:
        kind = next((kind for start, kind in _IMAGES.items() if image.startswith(start)), None)
        if kind is None:
            why = f"{place} must be a PNG, JPEG, GIF or WebP image in base64"
            raise InvalidRequest(why, param=place)
        check_base64(image, place)
        image = f"data:{kind};base64,{image}"
    return {"type": "image_url", "image_url": {"url": image}}
