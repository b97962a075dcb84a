"""Chunks -> the events of a Messages stream.

A stream of the API has one block open at a time, numbered in a row; the hub's tool calls may
interleave.  So there is a queue: while the arguments of the open call are not whole yet, what else
comes waits there and goes out in its order once they are, or at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.blocks import BlockWriter
from trio_router.dialects.anthropic.calls import CallPiece, CallReader
from trio_router.dialects.anthropic.errors import error_body
from trio_router.dialects.anthropic.hub import Thought, message_id, reasoning, refusal_of
from trio_router.dialects.anthropic.order import OUTLINE
from trio_router.dialects.anthropic.words import Block, stop_reason, usage_from_hub
from trio_router.dialects.hub import dicts, text_of
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk
    from trio_router.errors import RouterError

Event = dict[str, Any]
_OURS = ("stop_details", "container", "context_management")


def frame(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dumps(event))


class MessagesEncoder:
    """One answer.  `message_delta` waits for the end: usage may come after the finish reason."""

    keepalive = frame({"type": "ping"})

    def __init__(self, identity: AnswerIdentity, model: str = "") -> None:
        """`model` is the name that the answer tells; empty: the upstream's."""
        self._identity = identity
        self._model = model
        self._calls = CallReader(message_id(None, identity).removeprefix("msg_"))
        self._writer = BlockWriter()
        self._queue: list[CallPiece | Thought | str | Block] = []
        self._has_begun = False
        self._choice: dict[str, Any] = {}
        self._usage: Any = None

    def encode(self, chunk: Chunk) -> bytes:
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        events: list[Event] = []
        for choice in dicts(chunk.get("choices")):
            if choice.get("index", 0) in (0, None):
                events += self._begin(chunk)
                events += self._take(choice)
        return b"".join(map(frame, events))

    def passes(self, event: Event) -> bool:
        return True

    def finish(self) -> bytes:
        events = self._begin({}) + self._drain(at_end=True) + self._writer.close()
        delta = {
            "stop_reason": stop_reason(self._choice, has_calls=self._calls.any),
            "stop_sequence": self._choice.get("stop_sequence"),
        }
        delta |= {k: self._choice[k] for k in _OURS[:2] if k in self._choice}
        usage = usage_from_hub(self._usage)
        end: Event = {"type": "message_delta", "delta": delta, "usage": usage}
        if "context_management" in self._choice:
            end["context_management"] = self._choice["context_management"]
        return b"".join(map(frame, [*events, end, {"type": "message_stop"}]))

    def fail(self, error: RouterError) -> bytes:
        return frame(error_body(error))

    def _begin(self, chunk: Chunk) -> list[Event]:
        if self._has_begun:
            return []
        self._has_begun = True
        message: dict[str, Any] = {
            "id": message_id(chunk.get("id"), self._identity),
            "type": "message",
            "role": "assistant",
            "model": self._model or chunk.get("model") or self._identity.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_from_hub(self._usage),
        }
        return [{"type": "message_start", "message": message}]

    def _take(self, choice: dict[str, Any]) -> list[Event]:
        for name, value in choice.items():
            if name not in ("delta", "message", "index") and value is not None:
                self._choice[name] = value
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if not isinstance(delta, dict):
            return []
        self._queue += reasoning(delta)
        text, thinking = text_of(delta.get("content"))
        if thinking:
            self._queue.append(Thought(thinking))
        self._queue += [t for t in (text, refusal_of(delta, choice)) if t]
        # Others' citations are mere URLs, which no block can hold.
        for citation in dicts(delta.get("citations")):
            self._queue.append({"type": "citation", "citation": citation})
        self._queue += self._calls.read(delta)
        self._queue += dicts(delta.get(OUTLINE))
        return self._drain()

    def _drain(self, *, at_end: bool = False) -> list[Event]:
        """What of the queue can go out now."""
        events: list[Event] = []
        while self._queue:
            piece = self._next(at_end=at_end)
            if piece is None:
                break
            events += self._write(piece)
        return events

    def _next(self, *, at_end: bool) -> CallPiece | Thought | str | Block | None:
        call = self._writer.open_call
        if call is not None:
            # The open call's own pieces come first, wherever they stand.
            for place, piece in enumerate(self._queue):
                if isinstance(piece, CallPiece) and piece.call is call:
                    return self._queue.pop(place)
            if not at_end and not call.is_whole:
                return None
        first = self._queue[0]
        if isinstance(first, CallPiece) and not at_end and not first.call.is_named:
            return None
        return self._queue.pop(0)

    def _write(self, piece: CallPiece | Thought | str | Block) -> list[Event]:
        writer = self._writer
        match piece:
            case str():
                return writer.text(piece)
            case Thought():
                return writer.thought(piece)
            case CallPiece():
                return writer.call(piece)
            case {"type": "citation"}:
                return writer.citation(piece["citation"])
            case {"type": "text" | "thinking" | "redacted_thinking" as kind}:
                return writer.close(kind)
            case {"type": "tool_use"}:
                return []
            case {"type": str()}:
                return writer.whole({k: v for k, v in piece.items() if k != "index"})
        return []
