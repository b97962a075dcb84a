"""A `generateContent` request of a client -> a chat request in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.client_config import config, tools
from trio_router.dialects.gemini.client_contents import Contents, system_message
from trio_router.dialects.gemini.names import in_camel
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_READ = frozenset(
    {
        "model",
        "stream",
        "contents",
        "systemInstruction",
        "generationConfig",
        "tools",
        "toolConfig",
        "safetySettings",
    }
)
# Thresholds of `safetySettings` that ask for no filter.
_UNFILTERED = (None, "OFF", "BLOCK_NONE", "HARM_BLOCK_THRESHOLD_UNSPECIFIED")


def check(body: dict[str, Any]) -> None:
    """Raises InvalidRequest for what no target could answer; all else a target says itself."""
    contents = body.get("contents")
    if not isinstance(contents, list):
        raise InvalidRequest("contents must be an array", param="contents")
    if not contents:
        raise InvalidRequest("contents must not be empty", param="contents")


def chat_request(body: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """`model` and `stream`, which the path tells, are in `body`.  Raises InvalidRequest."""
    check(body)
    asked = in_camel(body)
    for name, value in asked.items():
        if name not in _READ and value is not None:
            unsupported.field(name)
    told: dict[str, Any] = {"model": body["model"], "messages": _messages(asked)}
    if body.get("stream"):
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    if asked.get("generationConfig") is not None:
        told |= config(asked["generationConfig"], unsupported)
    if asked.get("tools") is not None:
        told |= tools(asked["tools"], asked.get("toolConfig"), unsupported)
    _check_safety(asked.get("safetySettings"), unsupported)
    return told


def _messages(asked: dict[str, Any]) -> list[dict[str, Any]]:
    contents = Contents()
    for number, content in enumerate(asked["contents"]):
        contents.add(content, f"contents[{number}]")
    said = contents.messages()
    if asked.get("systemInstruction") is not None:
        system = system_message(asked["systemInstruction"], "systemInstruction")
        return said if system is None else [system, *said]
    return said


def _check_safety(settings: Any, unsupported: Unsupported) -> None:
    """What asks for no filter, every model does; no other has these filters."""
    if not isinstance(settings, list | None):
        raise InvalidRequest("safetySettings must be an array", param="safetySettings")
    for number, setting in enumerate(settings or ()):
        threshold = setting.get("threshold") if isinstance(setting, dict) else None
        if threshold not in _UNFILTERED:
            unsupported.field(f"safetySettings[{number}]")
