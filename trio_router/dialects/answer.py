"""An upstream's answer, from bytes to chunks, whatever its format and dialect.

    bytes -> FormatReader -> records -> AnswerReader -> Items (a chunk, and the event it came in)

The reader never raises for what an upstream sends: everything it understood before a fault is given
back first, and the fault stands in `failure`.  So the outcome does not depend on where the reads were
cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_router.dialects import recognise
from trio_router.dialects.base import HoldingDecoder
from trio_router.errors import (
    EventTooLarge,
    MalformedJSON,
    MalformedUTF8,
    StreamError,
    Truncated,
    UpstreamError,
)
from trio_router.wire.detect import FormatReader, NotAStreamError
from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.lines import LineTooLongError, repair_utf8

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk, ChunkDecoder, Dialect
    from trio_router.wire.sse import ServerSentEvent


# What reading JSON of good form and wrong shape raises: it is the upstream's fault, not ours.
_WRONG_SHAPE = (TypeError, AttributeError, KeyError, ValueError)


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
    """Reads one answer.  `failure` is set once something made the rest of it worthless."""

    def __init__(
        self, dialect: Dialect, identity: AnswerIdentity, content_type: str, rules: ReadingRules
    ) -> None:
        self._configured = dialect
        self._identity = identity
        self._rules = rules
        self._frames = FormatReader(content_type, rules.max_event)
        self._decoder: ChunkDecoder | None = None
        self.failure: UpstreamError | None = None
        self.has_first = False  # a first event has come, good or bad
        self.is_done = False  # the upstream said so: [DONE], done: true, or a whole answer
        self._finished: set[Any] = set()  # indices of the choices that have a finish reason
        self._choices: set[Any] = set()
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
    def is_whole(self) -> bool:
        """Every choice that was begun has its finish reason: nothing but usage can be missing."""
        return bool(self._finished) and self._choices <= self._finished

    def receive_data(self, data: bytes) -> list[Item]:
        """What `data` completes.  After a failure or the end, nothing."""
        if self.failure or self.is_done:
            return []
        try:
            return self._read(self._frames.receive_data(data))
        except LineTooLongError as fault:
            return self._too_large(fault)
        except NotAStreamError as fault:
            self._fail(MalformedJSON(f"the upstream's answer is {fault}"))
            return []

    def receive_eof(self, *, clean: bool = True) -> list[Item]:
        """The body has ended.  What was left in the buffer counts; then the end is judged.

        `clean` is False if the connection broke: then a finish reason of every choice is asked for.
        """
        if self.failure or self.is_done:
            return []
        try:
            items = self._read(self._frames.receive_eof())
        except LineTooLongError as fault:
            return self._too_large(fault)
        if self.failure is None and not self.is_done:
            items += self._held()
        if self.failure is None and not self._may_end(clean):
            self._fail(Truncated("the upstream's stream ended before the answer was complete"))
        return items

    def _may_end(self, clean: bool) -> bool:
        if self.is_done:
            return True
        if not clean:
            return self.is_whole
        return bool(self._finished) or (self._rules.lenient_end and self.has_first)

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
        if not isinstance(self._decoder, HoldingDecoder):
            return []
        try:
            chunks = self._decoder.end(is_whole=self.format == "json")
        except _WRONG_SHAPE:
            self._fail(MalformedJSON("the upstream's answer has an unexpected shape"))
            return []
        for chunk in chunks:
            self._observe(chunk)
        return [Item(chunk, None) for chunk in chunks]

    def _too_large(self, fault: LineTooLongError) -> list[Item]:
        items = self._read(fault.before)
        if not self.failure and not self.is_done:
            self._fail(EventTooLarge(f"an event of the upstream has {fault}"))
        return items

    def _fail(self, fault: UpstreamError) -> None:
        self.failure = fault.bare()
        self.has_first = True
        self.events_failed += 1

    def _record(self, record: ServerSentEvent) -> list[Item]:
        if not record.data or record.data.isspace():
            return []
        if record.data.startswith(b"[DONE]") and record.data.strip() == b"[DONE]":
            self.has_first = self.is_done = True
            return []
        if not record.data.isascii():
            self._mend(record)
        value = self._parse(record)
        if value is None:
            return []
        self.has_first = True
        self.events += 1
        if record.event == b"error" or value.get("error"):
            raise stream_error(value)
        return self._decode(value, record)

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
        except _WRONG_SHAPE:
            # The JSON is good, but nothing of the shape it should have: a broken event like any other.
            self.json_errors += 1
            raise MalformedJSON("an event of the upstream has an unexpected shape") from None
        self.is_done = self._decoder.is_done
        for chunk in chunks:
            self._observe(chunk)
        return self._items(chunks, value, record)

    def _decoder_for(self, value: dict[str, Any]) -> ChunkDecoder:
        return recognise(value, self._configured).decoder(self._identity)

    def _items(self, chunks: list[Chunk], value: dict[str, Any], record: ServerSentEvent) -> list[Item]:
        return [Item(chunk, record if chunk is value else None) for chunk in chunks]

    def _observe(self, chunk: Chunk) -> None:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index", 0)
                if not isinstance(index, int):
                    index = 0
                self._choices.add(index)
                if choice.get("finish_reason"):
                    self._finished.add(index)


def stream_error(value: dict[str, Any]) -> StreamError:
    """The error that an event of the stream tells of, its message kept."""
    error = StreamError(error_message(value) or "the upstream reported an error in its stream")
    error.reason = error_reason(value.get("error")) or error_reason(value)
    return error


def error_reason(value: Any) -> str:
    """The code or type that a provider's error object gives; empty if there is none."""
    if isinstance(value, dict):
        for name in ("code", "type", "status"):
            if isinstance(value.get(name), str | int):
                return str(value[name])
    return ""


def error_message(value: Any) -> str | None:
    """The message of an error object, in any of the shapes that providers give it."""
    if isinstance(value, str):
        return value or None
    if not isinstance(value, dict):
        return None
    for name in ("error", "message", "detail", "msg", "error_description"):
        if message := error_message(value.get(name)):
            return message
    return None
