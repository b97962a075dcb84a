"""`instructions` and `input` of a Responses request -> the hub's messages.

All that the model said between two inputs is one message of the hub: that is how its calls and what it
said beside them belong together.  A call's output follows on that message, wherever it stands.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.freeform import INPUT
from trio_router.dialects.hub import dicts
from trio_router.dialects.responses.names import SEARCH, brings, flat, names_of
from trio_router.dialects.responses.parts import Part, content, simple, string, wrong
from trio_router.dialects.responses.reasoning import unseal
from trio_router.wire.jsoncodec import dumps

Message = dict[str, Any]
# The API's developer messages are system messages to every server, and those are known everywhere.
_ROLES = {"user": "user", "system": "system", "developer": "system"}
_CALLS = ("function_call", "custom_tool_call", f"{SEARCH}_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output", f"{SEARCH}_output")


class ResponsesInput:
    """Takes items in their order; `messages` is what the hub gets."""

    def __init__(self, *, drop_unsupported: bool) -> None:
        self._drop = drop_unsupported
        self._turn: _Turn | None = None
        self._entries: list[_Turn | Message] = []
        self._turns: dict[str, _Turn] = {}  # by the ids of their calls

    @property
    def messages(self) -> list[Message]:
        made: list[Message] = []
        for entry in self._entries:
            made += entry.messages() if isinstance(entry, _Turn) else [entry]
        return made

    def add(self, item: Any, place: str) -> None:
        """Raises InvalidRequest, which names the field within `place`."""
        if not isinstance(item, dict):
            raise wrong(place, "must be an object")
        kind = item.get("type")
        if kind in (None, "message") and "role" in item:
            self._message(item, place)
        elif kind == "reasoning":
            self._open().think(item, place)
        elif kind == "additional_tools":
            pass  # see `names.placed_tools`
        elif kind in _CALLS and not self._is_of_server(item):
            call_id = self._open().call(item, place)
            self._turns[call_id] = self._open()
        elif kind in _OUTPUTS and not self._is_of_server(item):
            self._output(item, place)
        elif kind == "item_reference" or (kind is None and "id" in item):
            raise wrong(f"{place}.type", "item_reference is not supported: nothing is stored here")
        elif not self._drop:
            why = f"{kind!r} is no item that this model's provider takes"
            raise wrong(f"{place}.type", why)

    def _is_of_server(self, item: dict[str, Any]) -> bool:
        """Whether the API's own server has searched for tools."""
        return item["type"].startswith(SEARCH) and item.get("execution") != "client"

    def _message(self, item: dict[str, Any], place: str) -> None:
        role = item["role"]
        made = content(item.get("content"), f"{place}.content")
        if role == "assistant":
            self._open().say(made)
            return
        if not isinstance(role, str) or role not in _ROLES:
            raise wrong(f"{place}.role", "must be user, assistant, system or developer")
        self._turn = None
        self._entries.append({"role": _ROLES[role], "content": made})

    def _output(self, item: dict[str, Any], place: str) -> None:
        call_id = string(item, "call_id", place)
        turn = self._turns.get(call_id)
        if turn is None and self._drop:
            return  # of a call that was dropped
        if turn is None:
            raise wrong(f"{place}.call_id", "no call before it has this id")
        output = _names_found(item) if brings(item) else item.get("output")
        made = content(output, f"{place}.output")
        turn.results.append({"role": "tool", "tool_call_id": call_id, "content": made})
        if turn is self._turn:
            self._turn = None

    def _open(self) -> _Turn:
        if self._turn is None:
            self._turn = _Turn()
            self._entries.append(self._turn)
        return self._turn


def _names_found(item: dict[str, Any]) -> str:
    """What a search for tools has found, as text: the tools themselves are in the request now."""
    found = [tool for tool in dicts(item.get("tools")) if isinstance(tool.get("name"), str)]
    names = [n for tool in found for n in names_of({"tools": [tool]}) or [tool["name"]]]
    return f"These tools can be called now: {', '.join(names)}" if names else "No tools were found."


class _Turn:
    """What the model said at a stretch, and the outputs of its calls."""

    def __init__(self) -> None:
        self._said: list[Part] = []
        self._reasoning = ""
        self._details: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._extra: dict[str, Any] = {}  # other providers' fields of the calls, by the call's id
        self.results: list[Message] = []

    def say(self, made: str | list[Part]) -> None:
        if made:
            self._said += [{"type": "text", "text": made}] if isinstance(made, str) else made

    def call(self, item: dict[str, Any], place: str) -> str:
        """The call's id."""
        call_id = string(item, "call_id", place)
        if item["type"] == f"{SEARCH}_call":
            told = {"name": SEARCH, "arguments": dumps(item.get("arguments") or {}).decode()}
        else:
            told = {"name": flat(string(item, "name", place), item.get("namespace"))}
            if item["type"] == "function_call":
                told["arguments"] = string(item, "arguments", place)
            else:
                told["arguments"] = dumps({INPUT: string(item, "input", place)}).decode()
        self._calls.append({"id": call_id, "type": "function", "function": told})
        return call_id

    def think(self, item: dict[str, Any], place: str) -> None:
        texts = [d.get("text") for d in dicts(item.get("content")) or dicts(item.get("summary"))]
        text = "".join(t for t in texts if isinstance(t, str))
        if item.get("encrypted_content") is None:
            self._reasoning += text
            return
        sealed = string(item, "encrypted_content", place)
        try:
            opened = unseal(sealed, item.get("id"))
        except ValueError:
            raise wrong(f"{place}.encrypted_content", "has been changed") from None
        details = dicts(opened.get("details"))
        told = "".join(d["text"] for d in details if isinstance(d.get("text"), str))
        self._reasoning += told or text
        self._details += details
        if isinstance(opened.get("call_id"), str):
            self._extra[opened["call_id"]] = opened.get("extra_content")

    def messages(self) -> list[Message]:
        made: Message = {"role": "assistant", "content": simple(self._said) or None}
        if self._reasoning:
            made["reasoning_content"] = self._reasoning
        if self._details:
            made["reasoning_details"] = [{**d, "index": i} for i, d in enumerate(self._details)]
        for call in self._calls:
            if extra := self._extra.get(call["id"]):
                call["extra_content"] = extra
        if self._calls:
            made["tool_calls"] = self._calls
        if made.keys() == {"role", "content"} and made["content"] is None:
            return self.results  # an item that said nothing
        return [made, *self.results]
