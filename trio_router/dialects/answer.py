"""An upstream's answer, from bytes to chunks, whatever its format and dialect.

    bytes -> FormatReader -> records -> AnswerReader -> Items (a chunk, and the event it came in)

The reader never raises for what an upstream sends: it first returns everything that it understood
before a fault, and the fault is in `failure`.  So the outcome does not depend on where the reads were
cut.  Only an opening waits: it is returned together with the first event that has content.

How an answer may end:

- each choice ends with its finish reason; a body that ends before all of them came was cut off;
- `[DONE]`, or its counterpart in other dialects, also ends text without a finish reason (some providers
  give none): then the reason stays unknown, here and in every client's API;
- but a tool call whose arguments are not whole JSON was cut off, unless its choice has a finish reason;
- an answer without any content, not even a finish reason, is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_router.dialects import recognise
from trio_router.dialects.hub import OpenCalls, says
from trio_router.dialects.provider_error import stream_error
from trio_router.errors import (
    Empty,
    EventTooLarge,
    MalformedJSON,
    MalformedUTF8,
    StreamError,
    Truncated,
    UpstreamError,
)
from trio_router.wire.detect import FormatReader, NotAStreamError
from trio_router.wire.eventstream import EventStreamError
from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.lines import LineTooLongError, repair_utf8

if TYPE_CHECKING:
    from trio_router.dialects.base import (
        AnswerIdentity,
        Chunk,
        ChunkDecoder,
        Completion,
        Dialect,
    )
    from trio_router.wire.sse import ServerSentEvent


# Raised when valid JSON has an unexpected shape: the upstream's fault, not ours.
WRONG_SHAPE = (TypeError, AttributeError, KeyError, ValueError)
_KNOWN = frozenset({"choices", "object", "type", "usage"})  # one of these is in what has a known shape
_HELD = 512  # bytes that an event counts for, beside its own, while it is held back


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How strictly an answer is read (the configuration's `stream` section and `lenient_end`)."""

    max_event: int  # bytes
    invalid_utf8: str = "replace"  # or "error"
    malformed_event: str = "error"  # or "skip"
    lenient_end: bool = False


@dataclass(slots=True)
class Item:
    """A chunk; `event` is the upstream's own event where the chunk is what it says, unchanged."""

    chunk: Chunk
    event: ServerSentEvent | None


class AnswerReader:
    """Reads one answer.  `failure` is set once a fault has made the rest of it useless."""

    def __init__(
        self, dialect: Dialect, identity: AnswerIdentity, content_type: str, rules: ReadingRules
    ) -> None:
        self._configured = dialect
        self._identity = identity
        self._rules = rules
        self._frames = FormatReader(content_type, rules.max_event)
        self._decoder: ChunkDecoder | None = None
        self.failure: UpstreamError | None = None
        self.has_first = False  # an event with content has come, or a failure
        self.said = 0  # events, or parts of them, that say something
        self.is_done = False  # the upstream said so: [DONE], done: true, or a whole answer
        self._finished: set[Any] = set()  # indices of the choices that have a finish reason
        self._choices: set[Any] = set()
        self._calls: dict[Any, OpenCalls] = {}  # by index, of the choices that have none yet
        self._opening: list[Item] | None = []  # held back; None once something was said
        self._opening_size = 0
        self.usage: dict[str, Any] | None = None
        self.is_json = False  # it was read as one JSON body
        self.events = 0
        self.events_failed = 0
        self.unicode_errors = 0
        self.json_errors = 0

    @property
    def format(self) -> str | None:
        """ "sse", "ndjson", "json-array" or "json"; None until it is known."""
        return "json" if self.is_json else self._frames.format

    @property
    def response_id(self) -> str | None:
        """By which the provider may have stored the answer; None where the API has no such thing."""
        # A StoredDecoder has it.
        name: str | None = getattr(self._decoder, "response_id", None)
        return name

    @property
    def is_whole(self) -> bool:
        """Every choice that was begun has its finish reason: nothing but usage can be missing."""
        return bool(self._finished) and self._choices <= self._finished

    def receive_data(self, data: bytes) -> list[Item]:
        """The items that `data` completes; none after a failure or the end."""
        if self.failure or self.is_done:
            return []
        try:
            items = self._read(self._frames.receive_data(data))
        except (LineTooLongError, EventStreamError) as fault:
            items = self._broken(fault)
        except NotAStreamError as fault:
            self._fail(MalformedJSON(f"the upstream's answer is {fault}"))
            items = []
        if self.is_done and self.failure is None:
            self._judge(self._fault_of_end())
        return items if self._opening is None else self._opened(items)

    def receive_eof(self, *, clean: bool = True) -> list[Item]:
        """The body has ended.  Reads the rest of the buffer, then checks the end.

        `clean` is False if the connection broke: then every choice must have its finish reason.
        """
        if self.failure or self.is_done:
            return []
        try:
            items = self._read(self._without_cut(self._frames.receive_eof()))
        except LineTooLongError as fault:
            items = self._broken(fault)
        if self.failure is None and not self.is_done:
            items += self._held()
        if self.failure is None:
            self._judge(self._fault_of_end() if self.is_done else self._fault_of_eof(clean=clean))
        return items if self._opening is None else self._opened(items)

    def _without_cut(self, records: list[ServerSentEvent]) -> list[ServerSentEvent]:
        """What the end of the body left, without an event that it cut: that has not come."""
        if records and _is_cut(records[-1].data):
            self.events_failed += 1
            return records[:-1]
        return records

    def _opened(self, items: list[Item]) -> list[Item]:
        """The items that may be sent: none before the first content, then everything that was held."""
        held = self._opening
        assert held is not None
        held += items
        if self.said:
            self._opening = None
            return held
        if self.failure is not None:
            held.clear()
        return []

    def _judge(self, fault: UpstreamError | None) -> None:
        if fault is not None:
            self.is_done = False
            self._fail(fault)

    def _fault_of_end(self) -> UpstreamError | None:
        """The fault of an answer whose upstream said that it has ended; None if it is good."""
        if self.said == 0:
            return Empty("the upstream's answer says nothing")
        if self._has_cut_call():
            return Truncated("the upstream's answer ended inside the arguments of a tool call")
        return None

    def _fault_of_eof(self, *, clean: bool) -> UpstreamError | None:
        """The fault of an answer whose body ended without such a word."""
        if self.is_whole:
            return None
        is_lenient = self._rules.lenient_end or self._is_document()
        if clean and is_lenient and self.events:
            return self._fault_of_end()
        return Truncated("the upstream's stream ended before the answer was complete")

    def _is_document(self) -> bool:
        """Whether the body is one JSON value without content, so that nothing more can be expected."""
        return self.format == "json" and self.said == 0

    def _has_cut_call(self) -> bool:
        open_calls = (calls for i, calls in self._calls.items() if i not in self._finished)
        return not all(calls.are_whole for calls in open_calls)

    def _read(self, records: list[ServerSentEvent]) -> list[Item]:
        items: list[Item] = []
        for record in records:
            try:
                items += self._record(record)
            except UpstreamError as fault:
                self._fail(fault)
            if self.failure or self.is_done:
                break
        return items

    def _held(self) -> list[Item]:
        # A HoldingDecoder has it.  `isinstance` with a protocol would cost 10 us a stream.
        end = getattr(self._decoder, "end", None)
        if end is None:
            return []
        try:
            chunks: list[Chunk] = end(is_whole=self.format == "json")
        except WRONG_SHAPE:
            self._fail(MalformedJSON("the upstream's answer has an unexpected shape"))
            return []
        items: list[Item] = []
        try:
            for chunk in chunks:
                self.observe(chunk)
                items.append(Item(chunk, None))
        except StreamError as fault:
            self._fail(fault)
        return items

    def _broken(self, fault: LineTooLongError | EventStreamError) -> list[Item]:
        items = self._read(fault.before)
        if not self.failure and not self.is_done:
            if isinstance(fault, LineTooLongError):
                self._fail(EventTooLarge(f"an event of the upstream has {fault}"))
            else:
                self._fail(MalformedJSON(f"the upstream's event stream is broken: {fault}"))
        return items

    def _fail(self, fault: UpstreamError) -> None:
        self.failure = fault.bare()
        self.has_first = True
        self.events_failed += 1

    def _record(self, record: ServerSentEvent) -> list[Item]:
        data = record.data
        if data[:1] != b"{":  # most are objects
            if not data or data.isspace():
                return []
            if data.startswith(b"[DONE]") and data.strip() == b"[DONE]":
                self.is_done = True
                return self._held()
        if not data.isascii():
            self._mend(record)
        value = self._parse(record)
        if value is None:
            return []
        self.events += 1
        if record.event == b"error" or value.get("error"):
            raise stream_error(value)
        items = self._decode(value, record)
        if self.said == 0:
            self._hold(len(record.data))
        return items

    def _hold(self, size: int) -> None:
        self._opening_size += size + _HELD
        if self._opening_size > self._rules.max_event + _HELD:
            limit = self._rules.max_event
            raise EventTooLarge(f"the upstream sent more than {limit} bytes that say nothing")

    def _mend(self, record: ServerSentEvent) -> None:
        record.data, wrong = repair_utf8(record.data)
        self.unicode_errors += wrong
        if wrong and self._rules.invalid_utf8 == "error":
            raise MalformedUTF8("the upstream's stream is not UTF-8")

    def _parse(self, record: ServerSentEvent) -> dict[str, Any] | None:
        try:
            value = loads(record.data)
        except JSONError:
            value = None
        if isinstance(value, dict):
            return value
        if record.event == b"error":
            return {"error": value if isinstance(value, str) else record.data.decode()}
        self.json_errors += 1
        if self._rules.malformed_event == "error":
            raise MalformedJSON("an event of the upstream is not a JSON object")
        self.events_failed += 1
        return None

    def _decode(self, value: dict[str, Any], record: ServerSentEvent) -> list[Item]:
        if self._decoder is None:
            self._decoder = self._decoder_for(value)
        try:
            chunks = self._decoder.decode(value)
        except WRONG_SHAPE:
            # The JSON is good, but nothing of the shape it should have: a broken event like any other.
            self.json_errors += 1
            raise MalformedJSON("an event of the upstream has an unexpected shape") from None
        self.is_done = self._decoder.is_done
        for chunk in chunks:
            self.observe(chunk)
        return self._items(chunks, value, record)

    def _decoder_for(self, value: dict[str, Any]) -> ChunkDecoder:
        return recognise(value, self._configured).decoder(self._identity)

    def _items(self, chunks: list[Chunk], value: dict[str, Any], record: ServerSentEvent) -> list[Item]:
        return [Item(chunk, record if chunk is value else None) for chunk in chunks]

    def observe(self, chunk: Chunk | Completion) -> None:
        """Notes what a chunk says; of a whole answer too.  Raises StreamError if it says an error."""
        usage = chunk.get("usage")
        if type(usage) is dict:
            self.usage = usage
        choices = chunk.get("choices")
        if type(choices) is not list or not choices:
            if not choices and _is_strange(chunk):
                self._note_said()
            return
        for choice in choices:
            if type(choice) is not dict:
                continue
            index = choice.get("index", 0)
            if type(index) is not int:
                index = 0
            if index not in self._choices:
                self._choices.add(index)
            if finish := choice.get("finish_reason"):
                self._finish(index, finish, choice)
            delta = choice.get("delta")
            if type(delta) is dict and len(delta) == 1:
                # Most chunks are a piece of text alone, and there is nothing else to look for.
                text = delta.get("content")
                if type(text) is str and text:
                    self.said += 1
                    self.has_first = True
                    continue
            if self._says(index, choice, delta):
                self._note_said()

    def _note_said(self) -> None:
        self.said += 1
        self.has_first = True

    def _says(self, index: int, choice: dict[str, Any], delta: Any) -> bool:
        """Whether a choice says something; its calls are noted."""
        message = delta if isinstance(delta, dict) and delta else choice.get("message")
        if not isinstance(message, dict) or index in self._finished:
            return says(choice)
        if message.get("tool_calls") or message.get("function_call"):
            calls = self._calls.get(index)
            if calls is None:
                calls = self._calls[index] = OpenCalls()
            if calls.add(message):
                return True
        return says(choice)

    def _finish(self, index: int, finish: Any, choice: dict[str, Any]) -> None:
        self._finished.add(index)
        self._calls.pop(index, None)
        if finish == "error":
            raise stream_error(choice)

    def refuse(self, fault: UpstreamError) -> None:
        """Whoever takes the items has found that the answer is worthless from here on."""
        self.failure = fault
        self.is_done = False

    def judge(self) -> None:
        """Raises UpstreamError if the whole answer that was observed is none."""
        self._judge(self._fault_of_end())
        if self.failure is not None:
            raise self.failure


def no_object(body: bytes, what: str) -> UpstreamError:
    """What is wrong with `body`, a whole one that is no JSON object; `what` it should be."""
    if _is_cut(body):
        return Truncated(f"{what} ended before it was complete")
    return MalformedJSON(f"{what} is no JSON object")


def _is_cut(data: bytes) -> bool:
    """Whether it is the beginning of an event, and no more."""
    text, _ = repair_utf8(data.strip())
    if not text.startswith(b"{"):
        return bool(text) and text != b"[DONE]" and b"[DONE]".startswith(text)
    try:
        loads(text)
    except JSONError as fault:
        return fault.truncated
    return False


def _is_strange(chunk: Chunk) -> bool:
    """Whether it is of a shape that nobody here knows: what it says, who gets it may know."""
    return chunk.keys().isdisjoint(_KNOWN) and any(isinstance(v, str) and v for v in chunk.values())
