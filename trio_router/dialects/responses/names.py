"""Tools that only this API has, as functions of the hub.

A function of a namespace is called `namespace__name` there, a free-form tool is a function of one text,
and the search for tools that the client does itself is a function too.  Calls get their own names and
kinds back.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import dicts

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 64  # characters of a function's name; providers refuse more
_OTHERS = re.compile(r"[^A-Za-z0-9_-]")  # characters that no provider takes in a name
SEARCH = "tool_search"


@dataclass(frozen=True, slots=True)
class ToolName:
    """How the client calls a tool, and what kind of tool it is: `custom` ones take free-form text."""

    name: str
    namespace: str | None = None
    kind: str = "function"


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
    for tool, _ in placed_tools(body):
        if not isinstance(tool, dict):
            continue
        if tool.get("type") == "namespace":
            for inner in dicts(tool.get("tools")):
                _add(found, inner, tool.get("name"))
        elif is_search(tool):
            found[SEARCH] = ToolName(SEARCH, kind=SEARCH)
        else:
            _add(found, tool, None)
    return found


def _add(found: dict[str, ToolName], tool: dict[str, Any], namespace: Any) -> None:
    name, kind = tool.get("name"), tool.get("type")
    if isinstance(name, str) and isinstance(kind, str):
        space = namespace if isinstance(namespace, str) and namespace else None
        if space or kind == "custom":
            found.setdefault(flat(name, space), ToolName(name, space, kind))


def placed_tools(body: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """All tools of a request, each with its place: some come in the input, in the order of the talk."""
    for number, tool in enumerate(body.get("tools") or ()):
        yield tool, f"tools[{number}]"
    given = body.get("input")
    for place, item in enumerate(given if isinstance(given, list) else ()):
        brought = item.get("tools") if isinstance(item, dict) and brings(item) else None
        if isinstance(brought, list):
            for number, tool in enumerate(brought):
                yield tool, f"input[{place}].tools[{number}]"


def brings(item: dict[str, Any]) -> bool:
    """Whether an input item brings tools with it."""
    return item.get("type") in ("additional_tools", f"{SEARCH}_output")


def is_search(tool: dict[str, Any]) -> bool:
    """Whether it is the search for tools, done by the client."""
    return tool.get("type") == SEARCH and tool.get("execution") == "client"
