"""The events of a Messages stream -> chunks.  A whole message is read as the events it could have been.

Events are as in "Streaming messages" (platform.claude.com/docs/en/build-with-claude/streaming).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.order import OUTLINE, Row
from trio_router.dialects.anthropic.words import FINISH, FORMAT, TELLING, Block, usage_to_hub
from trio_router.wire.jsoncodec import JSONError, dumps_text, loads_text

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk

_TEXT_KINDS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}
# Of a message or its last delta: kept as extra fields of the choice.
_CHOICE_FIELDS = ("stop_sequence", "stop_details", "container", "context_management")
_CALL_FIELDS = frozenset({"type", "id", "name", "input", "cache_control"})


@dataclass(slots=True)
class _Open:
    """A block that has begun."""

    block: Block
    kind: str
    number: int = 0  # among the thinking blocks or the tool calls
    json: list[str] = field(default_factory=list)
    length: int = 0
    citations: int = 0


class MessagesDecoder:
    """Events -> chunks: the role first, a finish reason at the end, usage last."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._identity = identity
        self._frame = identity.frame()
        self._has_begun = False
        self._has_finished = False
        self._open: dict[Any, _Open] = {}
        self._row = Row()
        self._thoughts = 0
        self._calls = 0
        self._usage: dict[str, Any] = {}
        self._usage_told = True
        self._extra: dict[str, Any] = {}
        self.is_done = False

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        match record.get("type"):
            case "message":
                return self._whole(record)
            case "message_start":
                return self._start(record["message"])
            case "content_block_start":
                return self._block_start(record.get("index"), record["content_block"])
            case "content_block_delta":
                return self._block_delta(record.get("index"), record["delta"])
            case "content_block_stop":
                return self._block_stop(record.get("index"))
            case "message_delta":
                return self._message_delta(record)
            case "message_stop":
                return self._stop()
        return []

    def open_end(self) -> list[dict[str, Any]]:
        """The events that close what is open, up to the last one; the reason to stop is not known."""
        events: list[dict[str, Any]] = [
            {"type": "content_block_stop", "index": index} for index in self._open
        ]
        if not self._has_finished:
            delta = {"stop_reason": None, "stop_sequence": None}
            usage = {"output_tokens": self._usage.get("output_tokens") or 0}
            events.append({"type": "message_delta", "delta": delta, "usage": usage})
        return events

    def _whole(self, message: dict[str, Any]) -> list[Chunk]:
        chunks = self._start(message)
        for index, block in enumerate(message.get("content") or ()):
            chunks += self._block_start(index, block)
            chunks += self._block_stop(index)
        chunks += self._message_delta({**message, "delta": message})
        if not self._has_finished and message.get("content"):
            chunks += self._finish("end_turn")  # the message is whole, whatever it leaves out
        return chunks + self._stop()

    def _start(self, message: dict[str, Any]) -> list[Chunk]:
        self._frame["id"] = message.get("id") or self._identity.id
        self._frame["model"] = message.get("model") or self._identity.model
        self._count(message.get("usage"))
        self._keep(message)
        return [] if self._has_begun else self._chunks({})

    def _block_start(self, index: Any, block: Block) -> list[Chunk]:
        chunks = self._block_stop(index) if index in self._open else []
        kind = str(block.get("type"))
        opened = self._open[index] = _Open(dict(block), kind)
        self._row.begin(kind)
        chunks += self._outlines()
        match kind:
            case "text":
                chunks += self._text(opened, block.get("text") or "")
                for citation in block.get("citations") or ():
                    chunks += self._citation(opened, citation)
            case "thinking" | "redacted_thinking":
                opened.number, self._thoughts = self._thoughts, self._thoughts + 1
                chunks += self._thought(opened)
            case "tool_use":
                opened.number, self._calls = self._calls, self._calls + 1
                chunks += self._call(opened)
        return chunks

    def _block_delta(self, index: Any, delta: dict[str, Any]) -> list[Chunk]:
        kind = str(delta.get("type"))
        chunks: list[Chunk] = []
        if index not in self._open and kind in _TEXT_KINDS:
            # A block whose start is missing: its text is text all the same.
            chunks = self._block_start(index, {"type": _TEXT_KINDS[kind]})
        opened = self._open.get(index)
        if opened is None:
            return []
        match kind:
            case "text_delta":
                return chunks + self._text(opened, delta["text"])
            case "citations_delta":
                return chunks + self._citation(opened, delta["citation"])
            case "thinking_delta":
                return chunks + self._thinking(opened, delta["thinking"])
            case "signature_delta":
                return chunks + self._signature(opened, delta["signature"])
            case "input_json_delta":
                return self._json(opened, delta["partial_json"])
        _grow(opened.block, delta)
        return []

    def _block_stop(self, index: Any) -> list[Chunk]:
        opened = self._open.pop(index, None)
        if opened is None:
            return []
        chunks: list[Chunk] = []
        outline: Block = {"type": opened.kind}
        match opened.kind:
            case "text":
                outline["length"] = opened.length
                if opened.citations:
                    outline["citations"] = opened.citations
            case "tool_use":
                if not opened.json:
                    # The input was whole in the block's start, or there is none: `{}`.
                    whole = opened.block.get("input") or {}
                    chunks = self._arguments(opened, dumps_text(whole))
            case "thinking" | "redacted_thinking":
                pass
            case _:
                outline = _finished(opened)
        self._row.end(outline)
        return chunks + self._outlines()

    def _message_delta(self, record: dict[str, Any]) -> list[Chunk]:
        delta = record.get("delta") or {}
        self._count(record.get("usage"))
        self._keep(record)
        self._keep(delta)
        reason = delta.get("stop_reason")
        return [] if reason is None else self._finish(str(reason))

    def _stop(self) -> list[Chunk]:
        self.is_done = True
        # Without a reason, what is open was perhaps cut off: nothing is added to it.
        chunks = self._close_all() if self._has_finished else []
        return chunks if self._usage_told else [*chunks, self._usage_chunk()]

    def _finish(self, native: str) -> list[Chunk]:
        self._has_finished = True
        chunks = self._close_all()
        extra = self._extra
        details = extra.get("stop_details")
        if isinstance(details, dict) and isinstance(details.get("explanation"), str):
            chunks += self._chunks({"refusal": details["explanation"]}, stop_details=details)
        reason = FINISH.get(native, "stop")
        if native in TELLING or native not in FINISH:
            extra = {**extra, "native_finish_reason": native}
        if self._calls and native == "end_turn":
            reason = "tool_calls"
        if not self._has_begun:
            chunks += self._chunks({})
        chunks += self._chunks({}, reason, **extra)
        return chunks if self._usage_told else [*chunks, self._usage_chunk()]

    def _close_all(self) -> list[Chunk]:
        return [chunk for index in list(self._open) for chunk in self._block_stop(index)]

    def _text(self, opened: _Open, text: str) -> list[Chunk]:
        opened.length += len(text)
        return self._chunks({"content": text}) if text else []

    def _citation(self, opened: _Open, citation: Any) -> list[Chunk]:
        opened.citations += 1
        return self._chunks({"citations": [citation]})

    def _thought(self, opened: _Open) -> list[Chunk]:
        """What the start of a thinking block has in it: all of it, in a whole message."""
        block = opened.block
        if opened.kind == "redacted_thinking":
            data = {"type": "reasoning.encrypted", "data": block["data"]}
            return self._chunks(_details(data, opened))
        chunks = self._thinking(opened, block.get("thinking") or "")
        if signature := block.get("signature"):
            chunks += self._signature(opened, signature)
        return chunks

    def _thinking(self, opened: _Open, text: str) -> list[Chunk]:
        if not text:
            return []
        piece = {"type": "reasoning.text", "text": text}
        return self._chunks({"reasoning_content": text, **_details(piece, opened)})

    def _signature(self, opened: _Open, signature: str) -> list[Chunk]:
        piece = {"type": "reasoning.text", "text": "", "signature": signature}
        return self._chunks(_details(piece, opened))

    def _call(self, opened: _Open) -> list[Chunk]:
        block = opened.block
        call: dict[str, Any] = {
            "index": opened.number,
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": ""},
        }
        if extra := {k: v for k, v in block.items() if k not in _CALL_FIELDS}:
            call["extra_content"] = {"anthropic": extra}
        return self._chunks({"tool_calls": [call]})

    def _json(self, opened: _Open, piece: str) -> list[Chunk]:
        if not piece:
            return []
        opened.json.append(piece if opened.kind != "tool_use" else "")
        return self._arguments(opened, piece) if opened.kind == "tool_use" else []

    def _arguments(self, opened: _Open, piece: str) -> list[Chunk]:
        call = {"index": opened.number, "function": {"arguments": piece}}
        return self._chunks({"tool_calls": [call]})

    def _outlines(self) -> list[Chunk]:
        outlines = self._row.outlines()
        return self._chunks({OUTLINE: outlines}) if outlines else []

    def _count(self, usage: Any) -> None:
        """Counts are of the whole answer so far; what is not said again stays."""
        if isinstance(usage, dict):
            self._usage |= {k: v for k, v in usage.items() if v is not None}
            self._usage_told = False

    def _keep(self, fields: dict[str, Any]) -> None:
        self._extra |= {k: fields[k] for k in _CHOICE_FIELDS if fields.get(k) is not None}

    def _usage_chunk(self) -> Chunk:
        self._usage_told = True
        return {**self._frame, "choices": [], "usage": usage_to_hub(self._usage)}

    def _chunks(self, delta: dict[str, Any], finish: str | None = None, **extra: Any) -> list[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            delta = {"role": "assistant", "content": "", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **extra}
        return [{**self._frame, "choices": [choice]}]


def _details(piece: dict[str, Any], opened: _Open) -> dict[str, Any]:
    return {"reasoning_details": [{**piece, "format": FORMAT, "index": opened.number}]}


def _grow(block: Block, delta: dict[str, Any]) -> None:
    """A delta of a kind nobody here has heard of: its strings go on where the block's own end."""
    for name, value in delta.items():
        held = block.get(name)
        if name == "type":
            continue
        if isinstance(held, str) and isinstance(value, str):
            block[name] = held + value
        else:
            block[name] = value


def _finished(opened: _Open) -> Block:
    """A block the hub has no word for, whole."""
    if not opened.json:
        return opened.block
    text = "".join(opened.json)
    try:
        return {**opened.block, "input": loads_text(text)}
    except JSONError:
        return {**opened.block, "partial_json": text}
