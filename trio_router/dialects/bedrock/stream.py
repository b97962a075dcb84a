"""The events of ConverseStream -> chunks.  A whole answer is read as the events it could have been.

Each record has one member of the stream's union (`wire/eventstream`).  What a model's own API says,
where it was invoked, is in `invoked`.  The reason to stop waits for the metadata that follow it: these
say what a guardrail has done, and what was used.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trio_router.dialects.bedrock.invoked import spoken
from trio_router.dialects.bedrock.words import (
    PLAIN,
    REDACTED,
    SIGNED,
    Block,
    finish_of,
    members,
    usage_to_hub,
)
from trio_router.dialects.hub import dicts
from trio_router.wire.jsoncodec import dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk

EVENTS = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
)


@dataclass(slots=True)
class _OpenBlock:
    """A content block that has begun."""

    kind: str = "text"
    number: int = 0  # among the calls, the thoughts or the pictures
    has_input: bool = False
    format: str = ""
    picture: list[bytes] = field(default_factory=list)


class ConverseDecoder:
    """Records -> chunks: the role first, a finish reason later, usage last.  See HoldingDecoder."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._frame = identity.frame()
        self._has_begun = False
        self._open: dict[Any, _OpenBlock] = {}
        self._counts = {"toolUse": 0, "reasoningContent": 0, "image": 0, "other": 0}
        self._finish: dict[str, Any] | None = None  # the choice that ends the answer, held back
        self._usage: dict[str, Any] = {}
        self.is_done = False

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        if is_whole(record):
            return self._whole(record)
        kind = next((name for name in record if name in EVENTS), None)
        if kind is None:
            return self._invoked(record)
        event = record[kind]
        match kind:
            case "messageStart":
                return [] if self._has_begun else self._chunks({})
            case "contentBlockStart":
                return self._start(event.get("contentBlockIndex"), event["start"])
            case "contentBlockDelta":
                return self._delta(event.get("contentBlockIndex"), event["delta"])
            case "contentBlockStop":
                return self._stop(event.get("contentBlockIndex"))
            case "messageStop":
                return self._message_stop(event)
        return self._metadata(event)

    def end(self, *, is_whole: bool) -> list[Chunk]:
        """What waited: the reason to stop, if no metadata came, and the usage."""
        chunks: list[Chunk] = []
        if self._finish is not None:
            chunks += self._chunks({}, **self._finish)
            self._finish = None
        if self._usage:
            chunks.append({**self._frame, "choices": [], "usage": usage_to_hub(self._usage)})
            self._usage = {}
        return chunks

    # -- the events

    def _start(self, index: Any, start: dict[str, Any]) -> list[Chunk]:
        chunks = self._stop(index) if index in self._open else []
        kind = next(iter(start), "text")
        opened = self._opened(index, kind)
        if kind == "toolUse":
            use = start["toolUse"]
            function = {"name": use["name"], "arguments": ""}
            call = {"index": opened.number, "id": use["toolUseId"], "type": "function"}
            chunks += self._chunks({"tool_calls": [{**call, "function": function}]})
        elif kind == "image":
            opened.format = str(start["image"].get("format") or "png")
        elif kind != "text":
            chunks += self._kept({"start": start}, opened)
        return chunks

    def _opened(self, index: Any, kind: str) -> _OpenBlock:
        counted = kind if kind in self._counts else "other"
        opened = self._open[index] = _OpenBlock(kind, self._counts[counted])
        self._counts[counted] += 1
        return opened

    def _delta(self, index: Any, delta: dict[str, Any]) -> list[Chunk]:
        if (text := delta.get("text")) is not None:
            if index not in self._open:
                self._open[index] = _OpenBlock()
            return self._say(text)
        kind = next(iter(delta), "text")
        opened = self._open.get(index)
        if opened is None or (opened.kind == "text" and kind == "reasoningContent"):
            opened = self._opened(index, kind)
        match kind:
            case "toolUse":
                return self._arguments(opened, delta["toolUse"]["input"])
            case "reasoningContent":
                return self._reasoning(opened, delta["reasoningContent"])
            case "image":
                opened.picture.append(binascii.a2b_base64(delta["image"]["source"]["bytes"]))
                return []
        return self._kept(delta, opened)

    def _say(self, text: Any) -> list[Chunk]:
        if not isinstance(text, str):
            raise TypeError("text is no string")
        return self._chunks({"content": text}) if text else []

    def _arguments(self, opened: _OpenBlock, piece: Any) -> list[Chunk]:
        if not isinstance(piece, str):
            raise TypeError("input is no string")
        if not piece:
            return []
        opened.has_input = True
        return self._chunks(
            {"tool_calls": [{"index": opened.number, "function": {"arguments": piece}}]}
        )

    def _reasoning(self, opened: _OpenBlock, piece: dict[str, Any]) -> list[Chunk]:
        chunks: list[Chunk] = []
        if text := piece.get("text"):
            detail = {"type": "reasoning.text", "text": text, "format": SIGNED}
            chunks += self._thought(opened, detail, {"reasoning_content": text})
        if signature := piece.get("signature"):
            detail = {"type": "reasoning.text", "text": "", "format": SIGNED}
            chunks += self._thought(opened, {**detail, "signature": signature}, {})
        if data := piece.get("redactedContent"):
            detail = {"type": "reasoning.encrypted", "data": data, "format": REDACTED}
            chunks += self._thought(opened, detail, {})
        return chunks

    def _thought(
        self, opened: _OpenBlock, detail: dict[str, Any], beside: dict[str, Any]
    ) -> list[Chunk]:
        return self._chunks({**beside, "reasoning_details": [{**detail, "index": opened.number}]})

    def _kept(self, what: dict[str, Any], opened: _OpenBlock) -> list[Chunk]:
        """What has no counterpart (citations, results of the server's own tools), as it is."""
        place, self._counts["other"] = self._counts["other"], self._counts["other"] + 1
        return self._chunks({"extra_content": {"bedrock": {"parts": [{"index": place, "part": what}]}}})

    def _stop(self, index: Any) -> list[Chunk]:
        opened = self._open.pop(index, None)
        if opened is None:
            return []
        if opened.kind == "toolUse" and not opened.has_input:
            return self._arguments(opened, "{}")
        if opened.picture:
            data = binascii.b2a_base64(b"".join(opened.picture), newline=False).decode()
            url = {"url": f"data:image/{opened.format or 'png'};base64,{data}"}
            picture = {"index": opened.number, "type": "image_url", "image_url": url}
            return self._chunks({"images": [picture]})
        return []

    def _message_stop(self, event: dict[str, Any]) -> list[Chunk]:
        native = str(event.get("stopReason"))
        chunks = [chunk for index in list(self._open) for chunk in self._stop(index)]
        reason = finish_of(native)
        if self._counts["toolUse"] and native == "end_turn":
            reason = "tool_calls"
        self._finish = {"finish_reason": reason}
        if native not in PLAIN:
            self._finish["native_finish_reason"] = native
        stopped_at = members(event, "additionalModelResponseFields").get("stop_sequence")
        if isinstance(stopped_at, str):
            self._finish["stop_sequence"] = stopped_at
        return chunks

    def _metadata(self, event: dict[str, Any]) -> list[Chunk]:
        self._usage = members(event, "usage")
        told = {name: event[name] for name in ("trace", "performanceConfig") if event.get(name)}
        if told and self._finish is not None:
            self._finish["extra_content"] = {"bedrock": told}
        self.is_done = True
        return self.end(is_whole=False)

    # -- other shapes

    def _whole(self, record: dict[str, Any]) -> list[Chunk]:
        message = members(record, "output", "message")
        chunks = self.decode({"messageStart": {"role": "assistant"}})
        for index, block in enumerate(dicts(message.get("content"))):
            for event in _events_of(index, block):
                chunks += self.decode(event)
        return [*chunks, *self.decode({"messageStop": record}), *self.decode({"metadata": record})]

    def _invoked(self, record: dict[str, Any]) -> list[Chunk]:
        """What a model says in an API of its own."""
        text, native, usage = spoken(record)
        chunks = self._say(text)
        if native:
            self._finish = {"finish_reason": finish_of(native)}
            if native.lower() not in PLAIN:
                self._finish["native_finish_reason"] = native
        if usage:
            self._usage |= usage
        return chunks

    def _chunks(self, delta: dict[str, Any], **choice: Any) -> list[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            delta = {"role": "assistant", "content": "", **delta}
        whole = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **choice}
        return [{**self._frame, "choices": [whole]}]


def is_whole(record: dict[str, Any]) -> bool:
    """Whether this is what Converse answers without streaming."""
    return isinstance(record.get("output"), dict) and "stopReason" in record


def _events_of(index: int, block: Block) -> list[dict[str, Any]]:
    """The events that a block of a whole answer could have been."""
    start: dict[str, Any] | None = None
    deltas: list[dict[str, Any]] = []
    if "text" in block:
        deltas = [{"text": block["text"]}]
    elif "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
        deltas = [{"toolUse": {"input": dumps_text(use.get("input") or {})}}]
    elif "reasoningContent" in block:
        thought = block["reasoningContent"]
        deltas = [{"reasoningContent": thought.get("reasoningText") or thought}]
    elif "citationsContent" in block:
        cited = block["citationsContent"]
        deltas = [{"text": piece.get("text") or ""} for piece in dicts(cited.get("content"))]
        deltas += [{"citation": citation} for citation in dicts(cited.get("citations"))]
    elif "image" in block:
        start = {"image": {"format": block["image"].get("format")}}
        deltas = [{"image": {"source": block["image"]["source"]}}]
    else:
        deltas = [block]
    place = {"contentBlockIndex": index}
    begun = [] if start is None else [{"contentBlockStart": {**place, "start": start}}]
    return [
        *begun,
        *({"contentBlockDelta": {**place, "delta": delta}} for delta in deltas),
        {"contentBlockStop": place},
    ]
