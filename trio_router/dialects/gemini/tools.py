"""The hub's tools and `tool_choice` -> `tools` and `functionCallingConfig`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported


def tools(given: Any, unsupported: Unsupported) -> list[dict[str, Any]]:
    """Functions are translated; what has no `type` is one of the API's own ({"googleSearch": {}})."""
    if not isinstance(given, list):
        raise InvalidRequest("tools must be an array", param="tools")
    functions: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for number, tool in enumerate(given):
        place = f"tools[{number}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        kind = tool.get("type")
        if kind == "function":
            functions.append(_function(tool.get("function"), f"{place}.function"))
        elif kind is None and tool:
            own.append(tool)
        elif not isinstance(kind, str):
            raise InvalidRequest(f"{place}.type must be a string", param=f"{place}.type")
        else:
            unsupported.field(place, f"{place}: tools of type {kind!r} are not supported")
    return [*([{"functionDeclarations": functions}] if functions else []), *own]


def _function(function: Any, place: str) -> dict[str, Any]:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{place} must have a name", param=place)
    told: dict[str, Any] = {"name": function["name"]}
    if function.get("description"):
        told["description"] = function["description"]
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        raise InvalidRequest(f"{place}.parameters must be an object", param=f"{place}.parameters")
    if parameters and parameters != {"type": "object", "properties": {}}:
        # Not `parameters`, which takes but a part of JSON Schema.
        told["parametersJsonSchema"] = (
            parameters if "type" in parameters else {"type": "object", **parameters}
        )
    return told


def tool_config(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any] | None:
    """None: the API's default, which is the hub's.  Only to be asked if there are tools."""
    match request.get("tool_choice"):
        case None:
            return {"mode": "VALIDATED"} if _is_strict(request["tools"]) else None
        case "auto":
            return {"mode": "VALIDATED" if _is_strict(request["tools"]) else "AUTO"}
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY"}
        case {"type": "function", "function": {"name": str() as name}}:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list() as allowed}}:
            # Names go with these two modes only; in VALIDATED the model may answer in words too.
            told = "ANY" if mode == "required" else "VALIDATED"
            return {"mode": told, "allowedFunctionNames": _names(allowed)}
        case {"type": "custom"}:
            unsupported.field("tool_choice", "tools with free-form input are not supported")
            return None
    raise InvalidRequest("tool_choice is none that is known", param="tool_choice")


def _is_strict(given: list[Any]) -> bool:
    """VALIDATED is the mode that keeps to the schema, which is what `strict` asks for."""
    return any(
        (tool.get("function") or {}).get("strict") is True for tool in given if isinstance(tool, dict)
    )


def _names(allowed: list[Any]) -> list[str]:
    names = []
    for tool in allowed:
        match tool:
            case {"function": {"name": str() as name}} | {"name": str() as name}:
                names.append(name)
            case _:
                where = "tool_choice.allowed_tools.tools"
                raise InvalidRequest(f"{where} must be functions", param=where)
    return names
