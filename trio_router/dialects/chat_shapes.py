"""Chat requests in the shapes of other APIs, as Cursor sends them to `/chat/completions`.

Tools lie flat as in the Responses API, or have an `input_schema` as in Anthropic's Messages, whose
blocks also stand for calls and their results.  Everything else stays as it is.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.freeform import function_for
from trio_router.dialects.hub import dicts
from trio_router.wire.jsoncodec import dumps

Body = dict[str, Any]
Message = dict[str, Any]
_OF_FUNCTIONS = ("name", "description", "parameters", "strict")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_BLOCKS = frozenset({"tool_use", "tool_result"})


def has_flat_tools(body: Body) -> bool:
    """Whether a tool of the request is in another API's shape."""
    return any(_is_flat(tool) for tool in dicts(body.get("tools")))


def _is_flat(tool: dict[str, Any]) -> bool:
    if not isinstance(tool.get("name"), str):
        return False
    kind = tool.get("type")
    if kind in ("function", "custom"):
        return not isinstance(tool.get(kind), dict)
    return kind is None and "input_schema" in tool


def in_chat_shape(body: Body) -> tuple[Body, frozenset[str]]:
    """The request in the chat API's own shape, and the names of those tools that take free-form text.

    The latter are functions in it, see `chat_freeform`.  `body` is not changed.
    """
    given = dicts(body.get("tools"))
    free = frozenset(t["name"] for t in given if _is_flat(t) and t.get("type") == "custom")
    made = {**body, "tools": [_tool(tool) for tool in body["tools"]]}
    if (choice := _choice(body.get("tool_choice"))) is not None:
        made["tool_choice"] = choice
    if isinstance(body.get("messages"), list):
        made["messages"] = [m for message in body["messages"] for m in _messages(message)]
    return made, free


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or not _is_flat(tool):
        return tool
    if tool.get("type") == "custom":
        return {"type": "function", "function": function_for(tool)}
    function = {name: tool[name] for name in _OF_FUNCTIONS if tool.get(name) is not None}
    if "input_schema" in tool:
        function.setdefault("parameters", tool["input_schema"])
    own = {k: v for k, v in tool.items() if k not in (*_OF_FUNCTIONS, "type", "input_schema")}
    return {**own, "type": "function", "function": function}


def _choice(choice: Any) -> Any:
    """The chat API's choice for another one's; None if it is the chat API's already."""
    match choice:
        case {"type": "function" | "custom" | "tool", "name": str() as name}:
            return {"type": "function", "function": {"name": name}}
        case {"type": ("auto" | "any" | "none") as kind}:
            return _CHOICES[kind]
    return None


def _messages(message: Any) -> list[Any]:
    """A message as the chat API has it: results of tools are messages of their own."""
    if not isinstance(message, dict):
        return [message]
    if message.get("tool_calls"):
        message = {**message, "tool_calls": [_call(call) for call in message["tool_calls"]]}
        if message.get("content") == []:
            message["content"] = None
    blocks = dicts(message.get("content"))
    if not any(block.get("type") in _BLOCKS for block in blocks):
        return [message]
    others = [block for block in blocks if block.get("type") not in _BLOCKS]
    if message.get("role") == "assistant":
        calls = [_used(block) for block in blocks if block.get("type") == "tool_use"]
        return [{**message, "content": others or None, "tool_calls": calls}]
    results = [_result(block) for block in blocks if block.get("type") == "tool_result"]
    return [*results, *([{**message, "content": others}] if others else [])]


def _call(call: Any) -> Any:
    """A call of a free-form tool, whose tool is a function now."""
    match call:
        case {"type": "custom", "custom": {"name": str() as name, "input": str() as text}}:
            told = {"name": name, "arguments": dumps({"input": text}).decode()}
            return {"id": call.get("id"), "type": "function", "function": told}
    return call


def _used(block: dict[str, Any]) -> dict[str, Any]:
    arguments = dumps(block.get("input") or {}).decode()
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _result(block: dict[str, Any]) -> Message:
    content = block.get("content")
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content or ""}
