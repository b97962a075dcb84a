"""`tools` and `tool_choice` of a Responses request -> the hub's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import dicts
from trio_router.dialects.responses.parts import string, wrong

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

Tool = dict[str, Any]
_OF_FUNCTIONS = ("name", "description", "parameters", "strict")
_OF_CUSTOM = ("name", "description", "format")


def tools(asked: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The hub's fields.  What the API's own server would run is not supported."""
    made: list[Tool] = []
    for number, tool in enumerate(asked.get("tools") or ()):
        made += _tool(tool, f"tools[{number}]", unsupported)
    choice, allowed = _choice(asked.get("tool_choice"), unsupported)
    if allowed is not None:
        made = [t for t in made if (t["type"], t[t["type"]]["name"]) in allowed]
    if not made:
        return {}
    told: dict[str, Any] = {"tools": made}
    if choice is not None:
        told["tool_choice"] = choice
    if asked.get("parallel_tool_calls") is not None:
        told["parallel_tool_calls"] = asked["parallel_tool_calls"]
    return told


def _tool(tool: Any, place: str, unsupported: Unsupported) -> list[Tool]:
    """None, if it was dropped."""
    if not isinstance(tool, dict):
        raise wrong(place, "must be an object")
    match tool.get("type"):
        case "function":
            names: tuple[str, ...] = _OF_FUNCTIONS
        case "custom":
            names = _OF_CUSTOM
        case str() as kind:
            where = f"{place}.type"
            why = f"{where}: there is no tool {kind!r} where this model runs, only functions"
            unsupported.field(where, why)
            return []
        case _:
            raise wrong(f"{place}.type", "must be a string")
    if not string(tool, "name", place):
        raise wrong(f"{place}.name", "must not be empty")
    if not isinstance(tool.get("parameters"), dict | None):
        raise wrong(f"{place}.parameters", "must be an object")
    kind = tool["type"]
    return [{"type": kind, kind: {n: tool[n] for n in names if tool.get(n) is not None}}]


def _choice(choice: Any, unsupported: Unsupported) -> tuple[Any, set[tuple[str, str]] | None]:
    """The hub's choice, and which tools there are to choose from; None: all."""
    if choice is None or choice in ("auto", "none", "required"):
        return choice, None
    kind = choice.get("type") if isinstance(choice, dict) else None
    match kind:
        case "function" | "custom":
            name = string(choice, "name", "tool_choice")
            return {"type": kind, kind: {"name": name}}, None
        case "allowed_tools":
            if choice.get("mode") not in ("auto", "required"):
                raise wrong("tool_choice.mode", "must be auto or required")
            named = dicts(choice.get("tools"))
            return choice["mode"], {(str(t.get("type")), str(t.get("name"))) for t in named}
        case str():
            why = f"tool_choice.type: there is no tool {kind!r} where this model runs"
            unsupported.field("tool_choice.type", why)
            return None, None
    raise wrong("tool_choice", "must be auto, none, required or an object with a type")
