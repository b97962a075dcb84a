"""Output items on their way: what each says so far, and the events that tell of it.

"Streaming events" of the API reference has the events, their fields and their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trio_router.dialects.freeform import FreeForm
from trio_router.dialects.hub import as_dict
from trio_router.wire.jsoncodec import JSONError, loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.responses.names import ToolName

Event = dict[str, Any]
Part = dict[str, Any]


class Numbered:
    """Makes events, numbered in their order."""

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def event(self, kind: str, **fields: Any) -> Event:
        made = {"type": kind, "sequence_number": self._next, **fields}
        self._next += 1
        return made


class OutputItem:
    """One output item.  `index` is its place in the output."""

    kind = ""
    has_status = True

    def __init__(self, numbered: Numbered, index: int, item_id: str) -> None:
        self._numbered = numbered
        self.index = index
        self.id = item_id

    def fields(self) -> dict[str, Any]:
        """What the item is so far, beside its id, type and status."""
        raise NotImplementedError

    def whole(self, status: str) -> dict[str, Any]:
        told = {"status": status} if self.has_status else {}
        return {"id": self.id, "type": self.kind, **told, **self.fields()}

    def open(self) -> Event:
        return self._numbered.event(
            "response.output_item.added", output_index=self.index, item=self.whole("in_progress")
        )

    def close(self, status: str) -> list[Event]:
        done = self._numbered.event(
            "response.output_item.done", output_index=self.index, item=self.whole(status)
        )
        return [done]

    def event(self, kind: str, **fields: Any) -> Event:
        return self._numbered.event(kind, item_id=self.id, output_index=self.index, **fields)


@dataclass(slots=True)
class _Text:
    """The text of a part; each of its events has `place`, the part's index, in it."""

    kind: str  # of the part
    events: str  # what the names of its text's events begin with
    place: dict[str, int]
    name: str = "text"  # the text's, in the part and in the last event
    extra: dict[str, Any] = field(default_factory=dict)  # of the part
    pieces: list[str] = field(default_factory=list)

    def part(self) -> Part:
        extra = {name: list(v) if isinstance(v, list) else v for name, v in self.extra.items()}
        return {"type": self.kind, self.name: "".join(self.pieces), **extra}


class TextItem(OutputItem):
    """An item that says text, in parts; one part is open at a time."""

    part_events = "response.content_part"

    def __init__(self, numbered: Numbered, index: int, item_id: str) -> None:
        super().__init__(numbered, index, item_id)
        self._parts: list[_Text] = []

    def _say(self, text: _Text, piece: str, logprobs: Sequence[dict[str, Any]] = ()) -> list[Event]:
        """`text` is the part to be gone on with, or a new one."""
        events: list[Event] = []
        if not self._parts or self._parts[-1] is not text:
            events += self._close_part()
            self._parts.append(text)
            name = f"{self.part_events_of(text)}.added"
            events.append(self.event(name, **text.place, part=text.part()))
        if piece or logprobs:
            text.pieces.append(piece)
            told: dict[str, Any] = {}
            if "logprobs" in text.extra:
                text.extra["logprobs"] += logprobs
                told = {"logprobs": logprobs}
            events.append(self.event(f"{text.events}.delta", **text.place, delta=piece, **told))
        return events

    def part_events_of(self, text: _Text) -> str:
        return self.part_events

    def _last(self, kind: str) -> _Text | None:
        return self._parts[-1] if self._parts and self._parts[-1].kind == kind else None

    def _close_part(self) -> list[Event]:
        if not self._parts:
            return []
        text = self._parts[-1]
        part = text.part()
        told = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        said = {text.name: part[text.name]}
        return [
            self.event(f"{text.events}.done", **text.place, **said, **told),
            self.event(f"{self.part_events_of(text)}.done", **text.place, part=part),
        ]

    def close(self, status: str) -> list[Event]:
        return [*self._close_part(), *super().close(status)]


class MessageItem(TextItem):
    kind = "message"

    def fields(self) -> dict[str, Any]:
        return {"role": "assistant", "content": [text.part() for text in self._parts]}

    def say(self, piece: str, logprobs: list[dict[str, Any]]) -> list[Event]:
        return self._say(self._text(), piece, logprobs)

    def refuse(self, piece: str) -> list[Event]:
        known = self._last("refusal")
        place = {"content_index": len(self._parts)}
        return self._say(known or _Text("refusal", "response.refusal", place, "refusal"), piece)

    def annotate(self, annotation: dict[str, Any]) -> list[Event]:
        text = self._text()
        events = self._say(text, "")
        held = text.extra["annotations"]
        events.append(
            self.event(
                "response.output_text.annotation.added",
                **text.place,
                annotation_index=len(held),
                annotation=annotation,
            )
        )
        held.append(annotation)
        return events

    def cite(self, citation: dict[str, Any]) -> list[Event]:
        """Another provider's citation, which is no annotation of the API: an extra field."""
        text = self._text()
        events = self._say(text, "")
        text.extra.setdefault("citations", []).append(citation)
        return events

    def _text(self) -> _Text:
        known = self._last("output_text")
        place = {"content_index": len(self._parts)}
        extra: dict[str, Any] = {"annotations": [], "logprobs": []}
        return known or _Text("output_text", "response.output_text", place, extra=extra)


class ReasoningItem(TextItem):
    """`encrypted` is told with the item's end: signatures come last."""

    kind = "reasoning"
    has_status = False

    def __init__(self, numbered: Numbered, index: int, item_id: str) -> None:
        super().__init__(numbered, index, item_id)
        self.encrypted: str | None = None

    def fields(self) -> dict[str, Any]:
        told: dict[str, Any] = {"summary": [p.part() for p in self._parts if p.kind == "summary_text"]}
        if content := [p.part() for p in self._parts if p.kind == "reasoning_text"]:
            told["content"] = content
        if self.encrypted is not None:
            told["encrypted_content"] = self.encrypted
        return told

    def think(self, piece: str, *, is_summary: bool) -> list[Event]:
        kind = "summary_text" if is_summary else "reasoning_text"
        number = sum(part.kind == kind for part in self._parts)
        if is_summary:
            fresh = _Text(kind, "response.reasoning_summary_text", {"summary_index": number})
        else:
            fresh = _Text(kind, "response.reasoning_text", {"content_index": number})
        return self._say(self._last(kind) or fresh, piece)

    def part_events_of(self, text: _Text) -> str:
        is_summary = text.kind == "summary_text"
        return "response.reasoning_summary_part" if is_summary else self.part_events


class CallItem(OutputItem):
    """A call of a function, or of a tool that takes plain text."""

    def __init__(
        self, numbered: Numbered, index: int, item_id: str, call_id: str, name: ToolName
    ) -> None:
        super().__init__(numbered, index, item_id)
        is_custom = name.kind == "custom"
        self.kind = "custom_tool_call" if is_custom else "function_call"
        self._field = "input" if is_custom else "arguments"
        self._events = f"response.{self.kind}_{self._field}"
        self._call = {"call_id": call_id, "name": name.name}
        if name.namespace is not None:
            self._call["namespace"] = name.namespace
        self._pieces: list[str] = []
        self._is_custom = is_custom

    def fields(self) -> dict[str, Any]:
        return {**self._call, self._field: "".join(self._pieces)}

    def take(self, piece: str) -> list[Event]:
        if not piece:
            return []
        self._pieces.append(piece)
        return [self.event(f"{self._events}.delta", delta=piece)]

    def close(self, status: str) -> list[Event]:
        events: list[Event] = []
        whole = "".join(self._pieces)
        if not self._is_custom and status == "completed" and not whole.strip():
            # Clients read the arguments as JSON: a call without any has none, which is `{}`.
            events = self.take("{}")
            whole += "{}"
        told = {self._field: whole}
        if not self._is_custom:
            told["name"] = self._call["name"]
        return [*events, self.event(f"{self._events}.done", **told), *super().close(status)]


class FreeFormItem(CallItem):
    """A call of a plain-text tool by a model that calls it as a function."""

    def __init__(
        self, numbered: Numbered, index: int, item_id: str, call_id: str, name: ToolName
    ) -> None:
        super().__init__(numbered, index, item_id, call_id, name)
        self._form = FreeForm()

    def take(self, piece: str) -> list[Event]:
        return super().take(self._form.take(piece))

    def close(self, status: str) -> list[Event]:
        return [*super().take(self._form.end()), *super().close(status)]


class SearchItem(CallItem):
    """A call of the client's own search for tools, which is told whole."""

    def __init__(
        self, numbered: Numbered, index: int, item_id: str, call_id: str, name: ToolName
    ) -> None:
        super().__init__(numbered, index, item_id, call_id, name)
        self.kind = f"{name.kind}_call"

    def fields(self) -> dict[str, Any]:
        try:
            arguments = as_dict(loads("".join(self._pieces).encode()))
        except JSONError:  # not whole yet
            arguments = {}
        return {"call_id": self._call["call_id"], "execution": "client", "arguments": arguments}

    def take(self, piece: str) -> list[Event]:
        self._pieces.append(piece)
        return []

    def close(self, status: str) -> list[Event]:
        return OutputItem.close(self, status)
