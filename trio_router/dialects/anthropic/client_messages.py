"""`system` and `messages` of a Messages request -> the hub's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.client_parts import Part, part, parts, simple
from trio_router.dialects.anthropic.hub import CALL_EXTRA, extra_of, unsealed
from trio_router.dialects.anthropic.order import OUTLINE, Row
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import JSONError, dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.anthropic.words import Block

_THINKING = ("thinking", "redacted_thinking")
_CALL_FIELDS = frozenset({"type", "id", "name", "input", "cache_control"})


def system_content(content: Any, place: str) -> str | list[Part]:
    """The system prompt, or a system message within the conversation: text only."""
    if isinstance(content, str):
        return content
    made = parts(content, place, only_text=True)
    return simple(made)


class Messages:
    """Takes messages in their order; `made` is what the hub gets."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self._calls: set[str] = set()  # ids of all calls so far

    def add(self, message: Any, place: str) -> None:
        """Raises InvalidRequest, which names the field within `place`."""
        if not isinstance(message, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        content, where = message.get("content"), f"{place}.content"
        if not isinstance(content, str | list):
            raise InvalidRequest(f"{where} must be a string or an array", param=where)
        match message.get("role"):
            case "user":
                self._user(content, where)
            case "assistant":
                self._assistant(content, where)
            case "system":
                self.made.append({"role": "system", "content": system_content(content, where)})
            case _:
                where = f"{place}.role"
                raise InvalidRequest(f"{where} must be user or assistant", param=where)

    def _user(self, content: str | list[Any], place: str) -> None:
        if isinstance(content, str):
            self.made.append({"role": "user", "content": content})
            return
        said: list[Part] = []
        for number, block in enumerate(content):
            where = f"{place}[{number}]"
            if isinstance(block, dict) and block.get("type") == "tool_result":
                self.made.append(self._result(block, where))
            else:
                said.append(part(block, where))
        if said or not content:
            self.made.append({"role": "user", "content": simple(said)})

    def _result(self, block: Block, place: str) -> dict[str, Any]:
        call = block.get("tool_use_id")
        if not isinstance(call, str) or call not in self._calls:
            where = f"{place}.tool_use_id"
            raise InvalidRequest(f"{where}: no tool_use before it has this id", param=where)
        content = block.get("content")
        if not isinstance(content, str):
            content = simple(parts(content or [], f"{place}.content"))
        made: dict[str, Any] = {"role": "tool", "tool_call_id": call, "content": content}
        if not isinstance(block.get("is_error"), bool | None):
            raise InvalidRequest(f"{place}.is_error must be a boolean", param=f"{place}.is_error")
        if block.get("is_error"):
            made["is_error"] = True
        if block.get("cache_control") is not None:
            made["cache_control"] = block["cache_control"]
        return made

    def _assistant(self, content: str | list[Any], place: str) -> None:
        if isinstance(content, str):
            self.made.append({"role": "assistant", "content": content})
            return
        turn = _Turn()
        for number, block in enumerate(content):
            turn.add(block, f"{place}[{number}]")
        self._calls |= {call["id"] for call in turn.calls}
        self.made.append(turn.message())


class _Turn:
    """An assistant's blocks, sorted into what the hub has for them."""

    def __init__(self) -> None:
        self._said: list[Part] = []
        self._details: list[dict[str, Any]] = []
        self._thinking = ""
        self.calls: list[dict[str, Any]] = []
        self._extra: dict[Any, dict[str, Any]] = {}  # by the call's id
        self._row = Row(many_texts=True)

    def add(self, block: Any, place: str) -> None:
        if not isinstance(block, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        kind = block.get("type")
        if kind in _THINKING:
            is_signed = self._thought(block, place)
            outline = kind if is_signed else None
        elif kind == "tool_use":
            self.calls.append(_call(block, place))
            outline = kind
        else:
            self._said.append(part(block, place))
            kind, outline = "text", "part"
        if outline is not None:
            self._row.begin(str(kind))
            self._row.end({"type": outline})

    def message(self) -> dict[str, Any]:
        made: dict[str, Any] = {"role": "assistant", "content": simple(self._said) or None}
        if self._thinking:
            made["reasoning_content"] = self._thinking
        if self._details:
            made["reasoning_details"] = self._details
        if self.calls:
            made["tool_calls"] = self.calls
        for call in self.calls:
            if extra := self._extra.get(call["id"]):
                call["extra_content"] = extra | call.get("extra_content", {})
        if outlines := self._row.outlines():
            made["content"] = self._said or None
            made[OUTLINE] = outlines
        return made

    def _thought(self, block: Block, place: str) -> bool:
        """Whether it can be sent back: what has no signature is mere text."""
        is_redacted = block["type"] == "redacted_thinking"
        name = "data" if is_redacted else "thinking"
        if not isinstance(block.get(name), str):
            raise InvalidRequest(f"{place}.{name} must be a string", param=f"{place}.{name}")
        seal = block["data"] if is_redacted else block.get("signature") or ""
        if not isinstance(seal, str):
            raise InvalidRequest(f"{place}.signature must be a string", param=f"{place}.signature")
        if not is_redacted:
            self._thinking += block["thinking"]
        if not seal:
            return False
        kind, rest = unsealed(seal)
        if kind == CALL_EXTRA:
            self._keep_extra(rest, f"{place}.data")
            return False
        detail = {"type": "reasoning.encrypted", "data": rest}
        if not is_redacted:
            detail = {"type": "reasoning.text", "text": block["thinking"], "signature": rest}
        self._details.append({**detail, "format": kind, "index": len(self._details)})
        return True

    def _keep_extra(self, data: str, place: str) -> None:
        try:
            call, extra = extra_of(data)
            self._extra[call] = dict(extra)
        except (JSONError, LookupError, TypeError):
            raise InvalidRequest(f"{place} has been changed", param=place) from None


def _call(block: Block, place: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if not isinstance(block.get(name), str) or not block[name]:
            raise InvalidRequest(f"{place}.{name} must be a string", param=f"{place}.{name}")
    given = block.get("input")
    if not isinstance(given, dict):
        raise InvalidRequest(f"{place}.input must be an object", param=f"{place}.input")
    function = {"name": block["name"], "arguments": dumps_text(given)}
    made: dict[str, Any] = {"id": block["id"], "type": "function", "function": function}
    if block.get("cache_control") is not None:
        made["cache_control"] = block["cache_control"]
    if extra := {k: v for k, v in block.items() if k not in _CALL_FIELDS and v is not None}:
        made["extra_content"] = {"anthropic": extra}
    return made
