"""`tools` and `tool_choice` of a Responses request -> the hub's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_router.dialects.freeform import function_for
from trio_router.dialects.hub import dicts
from trio_router.dialects.responses.names import flat, is_search, placed_tools
from trio_router.dialects.responses.parts import string, wrong

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

Tool = dict[str, Any]
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OF_FUNCTIONS = ("name", "description", "parameters", "strict")


def tools(asked: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The hub's fields.  What the API's own server would run is not supported."""
    made: list[Tool] = []
    known: set[str] = set()
    for tool, place in placed_tools(asked):
        for one in _tool(tool, place, unsupported):
            # The input may bring a tool again.
            if one["function"]["name"] not in known or not place.startswith("input"):
                known.add(one["function"]["name"])
                made.append(one)
    choice, allowed = _choice(asked.get("tool_choice"), unsupported)
    if allowed is not None:
        made = [tool for tool in made if tool["function"]["name"] in allowed]
    if not made:
        return {}
    told: dict[str, Any] = {"tools": made}
    if choice is not None:
        told["tool_choice"] = choice
    if asked.get("parallel_tool_calls") is not None:
        told["parallel_tool_calls"] = asked["parallel_tool_calls"]
    return told


def _tool(tool: Any, place: str, unsupported: Unsupported, namespace: str = "") -> list[Tool]:
    """The hub's functions: none if the tool was dropped, several for a namespace."""
    if not isinstance(tool, dict):
        raise wrong(place, "must be an object")
    kind = tool.get("type")
    if not isinstance(kind, str):
        raise wrong(f"{place}.type", "must be a string")
    if kind == "namespace" and not namespace:
        return _namespace(tool, place, unsupported)
    if is_search(tool) and not namespace:
        tool = {**tool, "name": kind}
    elif kind not in ("function", "custom"):
        where = f"{place}.type"
        why = f"{where}: there is no tool {kind!r} where this model runs, only functions"
        unsupported.field(where, why, _word(kind))
        return []
    if not string(tool, "name", place):
        raise wrong(f"{place}.name", "must not be empty")
    if kind == "custom":
        function = function_for(tool)
    elif not isinstance(tool.get("parameters"), dict | None):
        raise wrong(f"{place}.parameters", "must be an object")
    else:
        function = {n: tool[n] for n in _OF_FUNCTIONS if tool.get(n) is not None}
    return [{"type": "function", "function": function | {"name": flat(tool["name"], namespace)}}]


def _word(kind: str) -> str:
    """A type as a log and a header can hold it."""
    return kind if _WORD.fullmatch(kind) else "other"


def _namespace(tool: Tool, place: str, unsupported: Unsupported) -> list[Tool]:
    if not string(tool, "name", place):
        raise wrong(f"{place}.name", "must not be empty")
    if not isinstance(tool.get("tools"), list):
        raise wrong(f"{place}.tools", "must be an array")
    made: list[Tool] = []
    for number, inner in enumerate(tool["tools"]):
        made += _tool(inner, f"{place}.tools[{number}]", unsupported, tool["name"])
    return made


def _choice(choice: Any, unsupported: Unsupported) -> tuple[Any, set[str] | None]:
    """The hub's choice, and which tools there are to choose from; None: all."""
    if choice is None or choice in ("auto", "none", "required"):
        return choice, None
    kind = choice.get("type") if isinstance(choice, dict) else None
    match kind:
        case "function" | "custom":
            name = flat(string(choice, "name", "tool_choice"), choice.get("namespace"))
            return {"type": "function", "function": {"name": name}}, None
        case "allowed_tools":
            if choice.get("mode") not in ("auto", "required"):
                raise wrong("tool_choice.mode", "must be auto or required")
            named = dicts(choice.get("tools"))
            return choice["mode"], {flat(str(t.get("name")), t.get("namespace")) for t in named}
        case str():
            why = f"tool_choice.type: there is no tool {kind!r} where this model runs"
            unsupported.field("tool_choice.type", why, "tool_choice")
            return None, None
    raise wrong("tool_choice", "must be auto, none, required or an object with a type")
