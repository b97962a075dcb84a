"""The messages of a client's chat request: what no provider could make sense of is refused here.

What only some providers know (parts of other types, fields of their own) is left to them.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.media import is_base64_image
from trio_router.errors import InvalidRequest

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_SCHEMES = ("https://", "http://", "gs://", "s3://", "file://")


def check_messages(messages: Any) -> None:
    """Raises InvalidRequest, which names the field."""
    if not isinstance(messages, list):
        raise wrong("messages", "an array")
    if not messages:
        raise InvalidRequest("messages must not be empty", param="messages")
    calls: set[Any] = set()  # ids of the assistant's calls so far; None for one that has no id
    for i, message in enumerate(messages):
        _check(message, f"messages[{i}]", calls)


def wrong(name: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{name} must be {words}", param=name)


def _check(message: Any, place: str, calls: set[Any]) -> None:
    if not isinstance(message, dict):
        raise wrong(place, "an object")
    role = message.get("role")
    if not isinstance(role, str):
        raise wrong(f"{place}.role", "a string")
    if role not in _ROLES:
        raise wrong(f"{place}.role", "system, developer, user, assistant or tool")
    content = message.get("content")
    if not isinstance(content, str | list | None):
        raise wrong(f"{place}.content", "a string or an array")
    for i, part in enumerate(content if isinstance(content, list) else ()):
        _check_part(part, f"{place}.content[{i}]")
    if role == "tool":
        _check_result(message.get("tool_call_id"), f"{place}.tool_call_id", calls)
    _note_calls(message.get("tool_calls"), f"{place}.tool_calls", calls)


def _note_calls(given: Any, place: str, calls: set[Any]) -> None:
    if not isinstance(given, list | None):
        raise wrong(place, "an array")
    for i, call in enumerate(given or ()):
        if not isinstance(call, dict):
            raise wrong(f"{place}[{i}]", "an object")
        name = call.get("id")
        if not isinstance(name, str | None):
            raise wrong(f"{place}[{i}].id", "a string")
        calls.add(name or None)


def _check_result(call: Any, place: str, calls: set[Any]) -> None:
    if None in calls:  # calls without ids: by their order then
        return
    if not isinstance(call, str):
        raise wrong(place, "a string")
    if call not in calls:
        raise InvalidRequest(f"{place}: no tool call before it has this id", param=place)


def _check_part(part: Any, place: str) -> None:
    if not isinstance(part, dict):
        raise wrong(place, "an object")
    kind = part.get("type")
    if not isinstance(kind, str):
        raise wrong(f"{place}.type", "a string")
    if kind == "text" and not isinstance(part.get("text"), str):
        raise wrong(f"{place}.text", "a string")
    if kind == "image_url":
        _check_image(part.get("image_url"), f"{place}.image_url")


def _check_image(image: Any, place: str) -> None:
    if isinstance(image, dict):
        image, place = image.get("url"), f"{place}.url"
    if not isinstance(image, str):
        raise wrong(place, "a string")
    if image[:5].lower() == "data:":
        if not is_base64_image(image):
            raise InvalidRequest(f"{place} is no image in base64", param=place)
    elif not image.lower().startswith(_SCHEMES):
        raise wrong(place, "a URL")
