"""An answer in the client's own API: passed through unchanged, and read along the way.

The record needs usage, the end and errors, so these are read.  The upstream's own bytes are sent.  If
the upstream answers in the shape of chat completions nevertheless, the answer is translated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from trio_router.dialects import recognise
from trio_router.dialects.answer import WRONG_SHAPE, AnswerReader, Item, no_object
from trio_router.dialects.provider_error import stream_error
from trio_router.dialects.taps import tapped
from trio_router.dialects.translate import EncodedTranslator
from trio_router.errors import MalformedJSON, StreamError, Truncated
from trio_router.wire.jsoncodec import JSONError, dumps, loads
from trio_router.wire.lines import repair_utf8
from trio_router.wire.sse import encode_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.answer import ReadingRules
    from trio_router.dialects.base import (
        AnswerIdentity,
        Chunk,
        ChunkDecoder,
        Dialect,
        NativeApi,
        StreamEncoder,
    )
    from trio_router.dialects.taps import Tap
    from trio_router.dialects.translate import EncodedAnswer
    from trio_router.errors import RouterError, UpstreamError
    from trio_router.wire.sse import ServerSentEvent


_SSE = frozenset({"sse"})


class NativeReader(AnswerReader):
    """Gives each event as it came, `chunk` being what it says; of a whole answer, the chunks it could
    have been.

    `told` is an error that the upstream's own events have told the client already.  Streams in one of
    `formats` pass; what comes in another is translated.
    """

    def __init__(
        self,
        api: NativeApi,
        identity: AnswerIdentity,
        content_type: str,
        rules: ReadingRules,
        formats: frozenset[str] = _SSE,
    ) -> None:
        super().__init__(cast("Dialect", api), identity, content_type, rules)
        self._api = api
        self._formats = formats
        self._is_own = True  # the answer is in the API that was asked
        self.told: StreamError | None = None

    @property
    def takes_arrays(self) -> bool:
        """Whether the API's own streams can be arrays."""
        return "json-array" in self._formats

    @property
    def decoder(self) -> ChunkDecoder | None:
        """What reads the events; None before the first."""
        return self._decoder

    def receive_data(self, data: bytes) -> list[Item]:
        return self._judged(super().receive_data(data))

    def receive_eof(self, *, clean: bool = True) -> list[Item]:
        items = super().receive_eof(clean=clean)
        if self.told is not None:
            self.failure = self.told
        return items

    def _judged(self, items: list[Item]) -> list[Item]:
        if self.is_done and self.told is not None and self.failure is None:
            self._fail(self.told)
        return items

    def _fault_of_eof(self, *, clean: bool) -> UpstreamError | None:
        is_document = self.format == "json" and "ndjson" not in self._formats
        if clean and self.events and self._is_own and is_document:
            return self._fault_of_end()
        return self._without_end() or super()._fault_of_eof(clean=clean)

    def _fault_of_end(self) -> UpstreamError | None:
        return super()._fault_of_end() or self._without_end()

    def _without_end(self) -> UpstreamError | None:
        """The fault of a stream that lacks the event which holds the answer, [DONE] or not."""
        if self.told is not None:
            return None  # that error is its end
        if self._api.needs_end and self._is_own and not self.is_whole:
            return Truncated("the upstream's stream ended before the answer was complete")
        return None

    def _record(self, record: ServerSentEvent) -> list[Item]:
        try:
            return super()._record(record)
        except StreamError as fault:
            if not (self._api.tells_errors and self._is_own and self.said):
                raise
            self.told = self.told or fault.bare()
            self.is_done = self._decoder is not None and self._decoder.is_done
            return [Item(_object(record.data), record)]

    def read_whole(self, value: dict[str, Any]) -> None:
        """Reads a whole answer for the record.  Raises UpstreamError if it is none."""
        self._decoder = self._api.decoder(self._identity)
        try:
            chunks = self._decoder.decode(value)
        except WRONG_SHAPE:
            raise MalformedJSON("the upstream's answer has an unexpected shape") from None
        for chunk in chunks:
            self.observe(chunk)
        if "ndjson" in self._formats and not self.is_whole:  # it is a line that others should follow
            raise Truncated("the upstream's stream ended before the answer was complete")
        self.judge()

    def _decoder_for(self, value: dict[str, Any]) -> ChunkDecoder:
        dialect = recognise(value, self._configured)
        self._is_own = dialect is self._configured
        return dialect.decoder(self._identity)

    def _items(self, chunks: list[Chunk], value: dict[str, Any], record: ServerSentEvent) -> list[Item]:
        if self._is_own and self.format in self._formats:
            if not chunks and self._api.says(value):
                self.said += 1
                self.has_first = True
            return [Item(value, record)]
        return [Item(chunk, None) for chunk in chunks]


def _object(data: bytes) -> dict[str, Any]:
    """What an error event says; it need not be JSON."""
    try:
        value = loads(data)
    except JSONError:
        return {}
    return value if isinstance(value, dict) else {}


class NativeTranslator:
    """One stream; see StreamTranslator."""

    def __init__(
        self,
        api: NativeApi,
        reader: NativeReader,
        encoder: StreamEncoder,
        taps: Sequence[Tap] = (),
    ) -> None:
        self.reader: AnswerReader = reader
        self._items = tapped(reader, taps)
        self._api = api
        self._own = reader
        self._encoder = encoder
        # A FramingEncoder has it.
        self._framed = getattr(encoder, "framed", encode_event)
        self._is_encoded = False

    def receive_data(self, data: bytes) -> bytes:
        if self.reader.is_done:
            return b""
        frames = [self._frame(item) for item in self._items.receive_data(data)]
        if self.reader.is_done and self.reader.failure is None:
            frames.append(self._end())
        return b"".join(frames)

    def receive_eof(self, *, clean: bool = True) -> bytes:
        frames = [self._frame(item) for item in self._items.receive_eof(clean=clean)]
        if self.reader.failure is None:
            frames.append(self._end())
        return b"".join(frames)

    def fail(self, error: RouterError) -> bytes:
        if self._own.told is not None:
            return b""  # the upstream's own words were passed on
        return self._encoder.fail(error)

    def going_on(self, reader: AnswerReader, taps: Sequence[Tap]) -> EncodedTranslator:
        return EncodedTranslator(reader, self._encoder, taps)

    def _frame(self, item: Item) -> bytes:
        if item.event is not None:
            return self._framed(item.event) if self._encoder.passes(item.chunk) else b""
        self._is_encoded = True
        return self._encoder.encode(item.chunk)

    def _end(self) -> bytes:
        """What ends a good stream for its client, beside what the upstream's own events have told."""
        if self._is_encoded:
            return self._encoder.finish()
        decoder = self._own.decoder
        # [DONE] is no end of every API, and an upstream may say it in the stead of its own end.
        is_told = decoder is not None and decoder.is_done
        return self._api.end if is_told else self._api.missing_end(decoder)


class PlainAnswer:
    """One answer without streaming, whatever it is of; see WholeAnswer."""

    def __init__(self, reader: AnswerReader) -> None:
        self.reader = reader

    def translate(self, body: bytes) -> bytes:
        """The upstream's JSON as it is.  Raises UpstreamError."""
        text, wrong = repair_utf8(body)
        try:
            value = loads(text)
        except JSONError:
            return self._no_json(body)
        if not isinstance(value, dict):
            return self._no_object(body, value)
        if value.get("error"):
            raise stream_error(value)
        return self._read(body, value, text, wrong)

    def _no_object(self, body: bytes, value: Any) -> bytes:
        raise MalformedJSON("the upstream's answer is no JSON object")

    def _no_json(self, body: bytes) -> bytes:
        raise no_object(body, "the upstream's answer")

    def _read(self, body: bytes, value: dict[str, Any], text: bytes, wrong: int) -> bytes:
        """What the client gets of `body`: `text`, whose UTF-8 had `wrong` faults.  It says `value`."""
        self.reader.unicode_errors += wrong
        self.reader.is_json = True
        self.reader.events += 1
        return text


class NativeAnswer(PlainAnswer):
    """One answer in the client's own API.  `other` reads what is in another one."""

    def __init__(self, api: NativeApi, reader: NativeReader, other: EncodedAnswer) -> None:
        super().__init__(reader)
        self._native = reader
        self._api = api
        self._other = other

    def _no_object(self, body: bytes, value: Any) -> bytes:
        """A stream that is an array."""
        is_stream = isinstance(value, list) and self._native.takes_arrays
        return self._no_json(body) if is_stream else super()._no_object(body, value)

    def _no_json(self, body: bytes) -> bytes:
        """A stream, although none was asked for: the whole answer, where its end holds it."""
        items = self.reader.receive_data(body)
        items += self.reader.receive_eof()
        if self.reader.failure is not None:
            raise self.reader.failure
        whole = self._api.whole(items[-1].chunk) if items and items[-1].event is not None else None
        return self._of_another(body) if whole is None else dumps(whole)

    def _read(self, body: bytes, value: dict[str, Any], text: bytes, wrong: int) -> bytes:
        api: object = self._api
        if recognise(value, cast("Dialect", api)) is not api:
            return self._of_another(body)
        super()._read(body, value, text, wrong)
        self._native.read_whole(value)
        self.reader.usage = self._api.usage(value)
        return text

    def _of_another(self, body: bytes) -> bytes:
        self.reader = self._other.reader
        return self._other.translate(body)
