"""Chunks -> the events of a Responses stream.

Reasoning and messages come one after another; a call stays open until the end, because providers mix
the pieces of parallel calls and say nowhere that one of them is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.fold import Fold
from trio_router.dialects.hub import CallSorter, as_dict, dicts, legacy_call, text_of
from trio_router.dialects.responses.items import (
    CallItem,
    Event,
    FreeFormItem,
    MessageItem,
    Numbered,
    OutputItem,
    ReasoningItem,
    SearchItem,
)
from trio_router.dialects.responses.names import SEARCH, ToolName, names_of
from trio_router.dialects.responses.reasoning import ReasoningPiece, is_sealed, seal, thoughts
from trio_router.dialects.responses.response import (
    Response,
    ending,
    failure,
    skeleton,
    tail,
    usage_from_hub,
)
from trio_router.wire.jsoncodec import dumps, dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk
    from trio_router.errors import RouterError

_ITEMS: dict[str, type[CallItem]] = {"custom": FreeFormItem, SEARCH: SearchItem}
_IDS = {"custom": "ctc", SEARCH: "tsc"}
# Of a chunk: what some providers found for the answer, kept as extra fields.
_EXTRA = ("citations", "search_results")


class _Call:
    """A call so far; `item` once its name is known."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.is_custom = False
        self.held: list[str] = []
        self.item: CallItem | None = None


class ResponseWriter:
    """One answer's chunks -> events, and the response they add up to."""

    def __init__(self, identity: AnswerIdentity, body: dict[str, Any]) -> None:
        self._identity = identity
        self._body = body
        reasoning = as_dict(body.get("reasoning"))
        self._wants_summary = bool(reasoning.get("summary") or reasoning.get("generate_summary"))
        self._names = names_of(body)
        self._tail = tail(identity)
        self._numbered = Numbered()
        self._response: Response = {}
        self._items: list[OutputItem] = []
        self._open: OutputItem | None = None  # the message or the reasoning that is being said
        self._details: Fold | None = None  # of the open reasoning
        self._sorter = CallSorter()
        self._calls: list[_Call] = []
        self._finish: Any = None
        self._usage: Any = None
        self._tier: Any = None
        self._extra: dict[str, Any] = {}

    def begin(self, model: Any = None) -> list[Event]:
        if self._response:
            return []
        name = model if isinstance(model, str) and model else self._identity.model
        self._response = skeleton(self._identity, name, self._body)
        kinds = ("response.created", "response.in_progress")
        return [self._numbered.event(kind, response=dict(self._response)) for kind in kinds]

    def take(self, chunk: Chunk) -> list[Event]:
        events = self.begin(chunk.get("model"))
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        self._tier = chunk.get("service_tier") or self._tier
        for name in _EXTRA:
            if chunk.get(name):
                self._extra[name] = chunk[name]
        for choice in dicts(chunk.get("choices")):
            if choice.get("index", 0) in (0, None):
                events += self._choice(choice)
        return events

    def finish(self) -> list[Event]:
        events = self.begin()
        events += self._unnamed_calls()
        # A call that is whole tells why the answer ended, a text does not.
        status, details = ending(self._finish or ("tool_calls" if self._calls else None))
        last = len(self._items) - 1
        closing = [item for item in self._items if item is self._open or isinstance(item, CallItem)]
        for item in closing:
            events += self._close(item, status if item.index == last else "completed")
        output = [i.whole(status if i.index == last else "completed") for i in self._items]
        self._response |= {
            "status": status,
            "incomplete_details": details,
            "output": output,
            "usage": usage_from_hub(self._usage),
            **self._extra,
        }
        if isinstance(self._tier, str):
            self._response["service_tier"] = self._tier
        return [*events, self._numbered.event(f"response.{status}", response=self._response)]

    def fail(self, error: RouterError) -> list[Event]:
        events = self.begin()
        output = [item.whole("incomplete") for item in self._items]
        told = {**self._response, "output": output, "usage": usage_from_hub(self._usage)}
        return events + failed(self._numbered, told, error)

    # -- one choice

    def _choice(self, choice: dict[str, Any]) -> list[Event]:
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if not isinstance(delta, dict):
            delta = {}
        events: list[Event] = []
        for thought in thoughts(delta):
            events += self._think(thought)
        events += self._say(delta, as_dict(choice.get("logprobs")))
        for piece in dicts(delta.get("tool_calls")):
            events += self._call(piece)
        if legacy := legacy_call(delta):
            events += self._call({"index": "function_call", "function": legacy})
        return events

    def _think(self, thought: ReasoningPiece) -> list[Event]:
        if not thought.text and (thought.detail is None or not is_sealed([thought.detail])):
            return []
        item = self._open
        events: list[Event] = []
        if not isinstance(item, ReasoningItem):
            item = ReasoningItem(self._numbered, len(self._items), self._id("rs"))
            self._details = Fold(self._identity)
            events = self._begin(item)
        if thought.detail is not None and self._details is not None:
            delta = {"reasoning_details": [thought.detail]}
            self._details.add({"choices": [{"index": 0, "delta": delta}]})
        if thought.text:
            is_summary = self._wants_summary or thought.is_summary
            events += item.think(thought.text, is_summary=is_summary)
        return events

    def _say(self, delta: dict[str, Any], logprobs: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        text, _ = text_of(delta.get("content"))
        told = [_logprob(entry) for entry in dicts(logprobs.get("content"))]
        if text or told:
            message = self._message(events)
            events += message.say(text, told)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            message = self._message(events)
            events += message.refuse(refusal)
        for annotation in dicts(delta.get("annotations")):
            message = self._message(events)
            events += message.annotate(_annotation(annotation))
        for citation in dicts(delta.get("citations")):
            message = self._message(events)
            events += message.cite(citation)
        return events

    def _message(self, events: list[Event]) -> MessageItem:
        """The open message; if there is none, one is begun, which is added to `events`."""
        if isinstance(self._open, MessageItem):
            return self._open
        item = MessageItem(self._numbered, len(self._items), self._id("msg"))
        events += self._begin(item)
        return item

    # -- calls

    def _call(self, piece: dict[str, Any]) -> list[Event]:
        custom = as_dict(piece.get("custom"))  # Snowflake puts an empty one beside each function
        is_custom = piece.get("type") == "custom" or any(custom.values())
        told = custom if is_custom else as_dict(piece.get("function"))
        name, given = told.get("name"), piece.get("id")
        number = self._sorter.number(piece.get("index"), given, has_name=bool(name))
        if number == len(self._calls):
            self._calls.append(_Call())
        call = self._calls[number]
        call.is_custom = call.is_custom or is_custom
        if isinstance(given, str) and given and not call.id:
            call.id = given
        if isinstance(name, str) and not call.name:
            call.name = name
        text = told.get("input" if is_custom else "arguments")
        if text is not None and not isinstance(text, str):
            text = dumps_text(text)
        events = self._keep_extra(piece, call, number)
        call.held.append(text or "")
        return events + (self._tell(call, number) if call.name else [])

    def _tell(self, call: _Call, number: int) -> list[Event]:
        """What of the call has not been told yet."""
        events: list[Event] = []
        if call.item is None:
            call.id = call.id or f"call_{self._tail}_{number}"
            name = self._names.get(call.name) or ToolName(call.name)
            if call.is_custom:
                name = ToolName(call.name, kind="custom")
            kind = CallItem if call.is_custom else _ITEMS.get(name.kind, CallItem)
            item_id = self._id(_IDS.get(name.kind, "fc"))
            call.item = kind(self._numbered, len(self._items), item_id, call.id, name)
            events += self._end_open()
            self._items.append(call.item)
            events.append(call.item.open())
        text = "".join(call.held)
        call.held.clear()
        return events + call.item.take(text)

    def _keep_extra(self, piece: dict[str, Any], call: _Call, number: int) -> list[Event]:
        """A provider's own fields of a call, without which it does not know the call again.

        A call's item has no place for them; clients send reasoning back as it is.
        """
        extra = piece.get("extra_content")
        if not isinstance(extra, dict) or not extra:
            return []
        call.id = call.id or f"call_{self._tail}_{number}"
        events = self._end_open()
        item = ReasoningItem(self._numbered, len(self._items), self._id("rs"))
        item.encrypted = seal({"call_id": call.id, "extra_content": extra})
        self._items.append(item)
        return [*events, item.open(), *item.close("completed")]

    def _unnamed_calls(self) -> list[Event]:
        events: list[Event] = []
        for number, call in enumerate(self._calls):
            if call.item is None:
                events += self._tell(call, number)
        return events

    # -- items

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._tail}_{len(self._items)}"

    def _begin(self, item: OutputItem) -> list[Event]:
        events = self._end_open()
        self._open = item
        self._items.append(item)
        return [*events, item.open()]

    def _end_open(self) -> list[Event]:
        return [] if self._open is None else self._close(self._open, "completed")

    def _close(self, item: OutputItem, status: str) -> list[Event]:
        if item is self._open:
            self._open = None
        if isinstance(item, ReasoningItem) and self._details is not None:
            (choice,) = self._details.completion()["choices"] or [{}]
            details = dicts(as_dict(choice.get("message")).get("reasoning_details"))
            if is_sealed(details):
                item.encrypted = seal({"details": details})
            self._details = None
        return item.close(status)


class ResponsesEncoder:
    """One answer for a client that streams.  Of an answer in the API itself, what passed by."""

    def __init__(self, identity: AnswerIdentity, body: dict[str, Any]) -> None:
        self._writer = ResponseWriter(identity, body)
        self._passed: Response | None = None
        self._last = -1  # the sequence number of what passed last

    def encode(self, chunk: Chunk) -> bytes:
        return _frames(self._writer.take(chunk))

    def passes(self, event: Event) -> bool:
        if isinstance(event.get("response"), dict):
            self._passed = event["response"]
        number = event.get("sequence_number")
        self._last = number if isinstance(number, int) else self._last + 1
        return True

    def finish(self) -> bytes:
        return _frames(self._writer.finish())

    def fail(self, error: RouterError) -> bytes:
        if self._last < 0:
            return _frames(self._writer.fail(error))
        response = self._passed or self._writer.begin()[-1]["response"]
        return _frames(failed(Numbered(self._last + 1), response, error))


def whole(completion: dict[str, Any], identity: AnswerIdentity, body: dict[str, Any]) -> Response:
    """A completion as a response: the same as its stream, of which it is one chunk."""
    writer = ResponseWriter(identity, body)
    # Perplexity's whole answers have an empty delta beside the message.
    choices = [{**c, "delta": c.get("message")} for c in dicts(completion.get("choices"))]
    writer.take({**completion, "choices": choices})
    response: Response = writer.finish()[-1]["response"]
    return response


def failed(numbered: Numbered, response: Response, error: RouterError) -> list[Event]:
    """What ends a stream badly.

    The error is told flat, as the reference has it, and as an object, as the API's own streams do and
    its SDKs look for.
    """
    told = error.body()["error"]
    flat = {name: told[name] for name in ("code", "message", "param")}
    response = {**response, "status": "failed", "error": failure(error)}
    return [
        numbered.event("error", **flat, error=told),
        numbered.event("response.failed", response=response),
    ]


def _frames(events: list[Event]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dumps(event)) for event in events
    )


def _annotation(annotation: dict[str, Any]) -> dict[str, Any]:
    """The chat API puts an annotation's fields under its type's name, this one beside the type."""
    kind = annotation.get("type")
    inner = annotation.get(kind) if isinstance(kind, str) else None
    return {"type": kind, **inner} if isinstance(inner, dict) else annotation


def _logprob(entry: dict[str, Any]) -> dict[str, Any]:
    top = [{**t, "bytes": t.get("bytes") or []} for t in dicts(entry.get("top_logprobs"))]
    return {**entry, "bytes": entry.get("bytes") or [], "top_logprobs": top}
