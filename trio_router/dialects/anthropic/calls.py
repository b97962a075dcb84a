"""The hub's tool calls, piece by piece, as providers really send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trio_router.dialects.anthropic.hub import call_extra, tool_input
from trio_router.dialects.hub import CallSorter, as_dict, dicts, legacy_call
from trio_router.wire.jsoncodec import JSONError, dumps_text, loads_text


@dataclass(slots=True, eq=False)
class ToolUse:
    """One call so far."""

    id: str
    name: str = ""
    extra: dict[str, Any] = field(default_factory=dict)  # the API's own fields, e.g. `caller`
    foreign: dict[str, Any] = field(default_factory=dict)  # other providers'
    _arguments: list[str] = field(default_factory=list)
    _held: str = ""  # of the arguments, as long as they may be no object
    _is_object: bool = False

    @property
    def is_named(self) -> bool:
        return bool(self.name)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are a JSON object: then nothing can follow that belongs to them."""
        last = next((a for a in reversed(self._arguments) if a and not a.isspace()), "")
        if not self._is_object or not last.rstrip().endswith("}"):
            return False
        try:
            loads_text("".join(self._arguments))
        except JSONError:
            return False
        return True

    def take(self, piece: str) -> str:
        """What can be written now that `piece` has come: nothing before it looks like an object."""
        self._arguments.append(piece)
        if self._is_object:
            return piece
        self._held += piece
        if not self._held.lstrip().startswith("{"):
            return ""
        self._is_object = True
        held, self._held = self._held, ""
        return held

    def take_rest(self) -> str:
        """The arguments of a call that ended without being an object, as one; "" for none."""
        held, self._held = tool_input(self._held), ""
        return dumps_text(held) if held else ""


@dataclass(frozen=True, slots=True, eq=False)
class CallPiece:
    call: ToolUse
    arguments: str


class CallReader:
    """Which call a piece belongs to; calls without an id get one made of `tail`."""

    def __init__(self, tail: str) -> None:
        self._tail = tail
        self._sorter = CallSorter()
        self._calls: list[ToolUse] = []

    @property
    def any(self) -> bool:
        return bool(self._calls)

    def read(self, delta: dict[str, Any]) -> list[CallPiece]:
        pieces = [self._piece(call) for call in dicts(delta.get("tool_calls"))]
        if legacy := legacy_call(delta):
            pieces.append(self._piece({"index": "function_call", "function": legacy}))
        return pieces

    def _piece(self, piece: dict[str, Any]) -> CallPiece:
        function = as_dict(piece.get("function"))
        given, name = piece.get("id"), function.get("name")
        number = self._sorter.number(piece.get("index"), given, has_name=bool(name))
        if number == len(self._calls):
            is_named = isinstance(given, str) and bool(given)
            self._calls.append(ToolUse(str(given) if is_named else f"toolu_{self._tail}_{number}"))
        call = self._calls[number]
        if isinstance(name, str) and not call.name:
            call.name = name
        own, foreign = call_extra(piece)
        call.extra |= own
        call.foreign |= foreign
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = dumps_text(arguments)
        return CallPiece(call, arguments or "")
