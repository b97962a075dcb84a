"""The hub's tools and `tool_choice` -> those of the Messages API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.anthropic.words import Block
    from trio_router.dialects.base import Unsupported


def tools(given: Any, unsupported: Unsupported) -> list[Block]:
    """Functions are translated; what has a type of the API's own (web_search_...) is kept as it is."""
    if not isinstance(given, list):
        raise InvalidRequest("tools must be an array", param="tools")
    made = [_tool(tool, f"tools[{i}]", unsupported) for i, tool in enumerate(given)]
    return [tool for tool in made if tool is not None]


def _tool(tool: Any, place: str, unsupported: Unsupported) -> Block | None:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    kind = tool.get("type")
    if kind == "custom" and isinstance(tool.get("custom"), dict):  # OpenAI's: input in free form
        unsupported.field(place, f"{place}: tools with free-form input are not supported")
        return None
    if kind != "function":
        if kind is None and "input_schema" not in tool:
            raise InvalidRequest(f"{place}.type must be a string", param=f"{place}.type")
        return tool
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
    made: Block = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    made["input_schema"] = _schema(function.get("parameters"), f"{place}.function.parameters")
    if function.get("strict") is not None:
        made["strict"] = function["strict"]
    return made | {k: v for k, v in tool.items() if k not in ("type", "function")}


def _schema(parameters: Any, place: str) -> Any:
    if not isinstance(parameters, dict | None):
        raise InvalidRequest(f"{place} must be an object", param=place)
    if not parameters:
        return {"type": "object", "properties": {}}
    return parameters if "type" in parameters else {"type": "object", **parameters}


def tool_choice(request: dict[str, Any], unsupported: Unsupported, *, thinks: bool) -> Block | None:
    """None: the API's default.  Only to be asked if there are tools."""
    choice = _choice(request.get("tool_choice"))
    if choice is None:
        unsupported.field("tool_choice", "tool_choice is of a type that is not supported")
        choice = {"type": "auto"}
    if thinks and choice["type"] in ("any", "tool"):
        # "Thinking with tool use": only `auto` and `none`.
        unsupported.field("tool_choice", "tools cannot be forced together with thinking")
        choice = {"type": "auto"}
    if request.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return None if choice == {"type": "auto"} and not request.get("tool_choice") else choice


def _choice(choice: Any) -> Block | None:
    match choice:
        case None | "auto":
            return {"type": "auto"}
        case "none":
            return {"type": "none"}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str() as name}}:
            return {"type": "tool", "name": name}
        case {"type": "allowed_tools"} | {"type": "custom"}:
            return None
    raise InvalidRequest("tool_choice is none that is known", param="tool_choice")
