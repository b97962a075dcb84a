"""Writes blocks as events: numbered in a row, one open at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.hub import extra_block, thinking_block
from trio_router.wire.jsoncodec import dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.anthropic.calls import CallPiece, ToolUse
    from trio_router.dialects.anthropic.hub import Thought
    from trio_router.dialects.anthropic.words import Block

Event = dict[str, Any]
_CALLING = ("server_tool_use", "mcp_tool_use")  # blocks whose input comes in pieces, as a call's


class BlockWriter:
    """The events are returned; `open_call` is the call whose block is open."""

    def __init__(self) -> None:
        self._next = 0
        self._kind: str | None = None  # of the open block; None: none is
        self._thought: Any = None  # the open thinking block's index in the hub
        self.open_call: ToolUse | None = None
        self._written: set[int] = set()  # calls whose blocks are closed, by identity

    def close(self, kind: str = "") -> list[Event]:
        """Ends the open block; with `kind`, only if it is of that type."""
        if self._kind is None or (kind and kind != self._kind):
            return []
        events: list[Event] = []
        if self.open_call is not None and (rest := self.open_call.take_rest()):
            events.append(self._delta("input_json_delta", partial_json=rest))
        self._kind, self.open_call = None, None
        return [*events, {"type": "content_block_stop", "index": self._next - 1}]

    def text(self, text: str) -> list[Event]:
        return [*self._text_block(), self._delta("text_delta", text=text)]

    def citation(self, citation: Any) -> list[Event]:
        return [*self._text_block(), self._delta("citations_delta", citation=citation)]

    def thought(self, piece: Thought) -> list[Event]:
        if piece.data is not None:
            return self.whole({"type": "redacted_thinking", "data": piece.data})
        events: list[Event] = []
        is_same = piece.index is None or self._thought in (None, piece.index)
        if self._kind != "thinking" or not is_same:
            events = self._open(thinking_block(""))
            self._thought = None
        if piece.index is not None:
            self._thought = piece.index
        if piece.text:
            events.append(self._delta("thinking_delta", thinking=piece.text))
        if piece.signature:
            events.append(self._delta("signature_delta", signature=piece.signature))
        return events

    def call(self, piece: CallPiece) -> list[Event]:
        call = piece.call
        events: list[Event] = []
        if self.open_call is not call:
            if id(call) in self._written:
                # Its arguments were a whole JSON object: what follows can only be white space.
                return []
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}, **call.extra}
            if call.foreign:
                events = self.whole(extra_block(call.id, call.foreign))
            events += self._open(block)
            self.open_call = call
            self._written.add(id(call))
        if text := call.take(piece.arguments):
            events.append(self._delta("input_json_delta", partial_json=text))
        return events

    def whole(self, block: Block) -> list[Event]:
        """A block that comes in one piece."""
        if block.get("type") in _CALLING and isinstance(block.get("input"), dict) and block["input"]:
            events = self._open({**block, "input": {}})
            text = dumps_text(block["input"])
            events.append(self._delta("input_json_delta", partial_json=text))
        else:
            events = self._open(block)
        return [*events, *self.close()]

    def _text_block(self) -> list[Event]:
        return [] if self._kind == "text" else self._open({"type": "text", "text": ""})

    def _open(self, block: Block) -> list[Event]:
        events = self.close()
        self._kind = str(block.get("type"))
        index, self._next = self._next, self._next + 1
        return [*events, {"type": "content_block_start", "index": index, "content_block": block}]

    def _delta(self, kind: str, **fields: Any) -> Event:
        delta = {"type": kind, **fields}
        return {"type": "content_block_delta", "index": self._next - 1, "delta": delta}
