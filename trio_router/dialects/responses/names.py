"""Tools that only this API has, as functions of the hub: free-form ones, and those of a namespace.

A function of a namespace is called `namespace__name` there; a free-form tool is a function of one text.
Calls get their own names and kinds back.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from trio_router.dialects.hub import as_dict, dicts

_LONGEST = 64  # characters of a function's name; providers refuse more
_OTHERS = re.compile(r"[^A-Za-z0-9_-]")  # characters that no provider takes in a name
INPUT = "input"  # the one parameter of a free-form tool
_PARAMETERS = {
    "type": "object",
    "properties": {INPUT: {"type": "string", "description": "The tool's whole input, as plain text."}},
    "required": [INPUT],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ToolName:
    """How the client calls a tool.  `is_custom`: its input is free-form text."""

    name: str
    namespace: str | None = None
    is_custom: bool = False


def flat(name: str, namespace: Any) -> str:
    """What a tool is called in the hub; the same for each request."""
    if not isinstance(namespace, str) or not namespace:
        return name
    joined = _OTHERS.sub("_", namespace if namespace.endswith("__") else f"{namespace}__") + name
    if len(joined) <= _LONGEST:
        return joined
    mark = hashlib.sha256(f"{namespace}\0{name}".encode()).hexdigest()[:8]
    return f"{joined[: _LONGEST - 9]}_{mark}"


def names_of(body: dict[str, Any]) -> dict[str, ToolName]:
    """The client's names of those tools of a request that the hub calls otherwise."""
    found: dict[str, ToolName] = {}
    for tool in dicts(body.get("tools")):
        if tool.get("type") == "namespace":
            for inner in dicts(tool.get("tools")):
                _add(found, inner, tool.get("name"))
        elif tool.get("type") == "custom":
            _add(found, tool, None)
    return found


def _add(found: dict[str, ToolName], tool: dict[str, Any], namespace: Any) -> None:
    name = tool.get("name")
    if isinstance(name, str):
        is_custom = tool.get("type") == "custom"
        space = namespace if isinstance(namespace, str) and namespace else None
        found[flat(name, space)] = ToolName(name, space, is_custom)


def function_for(tool: dict[str, Any]) -> dict[str, Any]:
    """A free-form tool as the hub's function, which is told of the tool's grammar, if it has one."""
    said = [tool["description"]] if isinstance(tool.get("description"), str) else []
    format_ = as_dict(tool.get("format"))
    if isinstance(format_.get("definition"), str):
        kind = f" ({format_['syntax']})" if isinstance(format_.get("syntax"), str) else ""
        said.append(f"`{INPUT}` must match this grammar{kind}:\n{format_['definition']}")
    told: dict[str, Any] = {"name": tool["name"]}
    if said:
        told["description"] = "\n\n".join(said)
    return told | {"parameters": _PARAMETERS}
