"""An answer in the client's own API: passed through as it is, and read along the way.

What is read is what the record needs: usage, the end, errors.  What is sent is the upstream's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from trio_router.dialects.answer import AnswerReader, Item, stream_error
from trio_router.errors import MalformedJSON
from trio_router.jsoncodec import JSONError, loads
from trio_router.wire.lines import repair_utf8
from trio_router.wire.sse import encode_event

if TYPE_CHECKING:
    from trio_router.dialects.answer import ReadingRules
    from trio_router.dialects.base import (
        AnswerIdentity,
        Chunk,
        ChunkDecoder,
        Dialect,
        NativeApi,
        StreamEncoder,
    )
    from trio_router.wire.sse import ServerSentEvent


class NativeReader(AnswerReader):
    """Gives each event as it came; of a whole answer, the chunks it could have been."""

    def __init__(
        self, api: NativeApi, identity: AnswerIdentity, content_type: str, rules: ReadingRules
    ) -> None:
        super().__init__(cast("Dialect", api), identity, content_type, rules)  # never recognised
        self._api = api

    def _decoder_for(self, value: dict[str, Any]) -> ChunkDecoder:
        return self._api.decoder(self._identity)

    def _items(self, chunks: list[Chunk], value: dict[str, Any], record: ServerSentEvent) -> list[Item]:
        if self.format == "sse":
            return [Item({}, record)]
        return [Item(chunk, None) for chunk in chunks]


class NativeTranslator:
    """One stream; see StreamTranslator."""

    def __init__(self, api: NativeApi, reader: NativeReader, encoder: StreamEncoder) -> None:
        self.reader: AnswerReader = reader
        self._api = api
        self._encoder = encoder
        self._is_encoded = False

    def receive_data(self, data: bytes) -> bytes:
        if self.reader.is_done:
            return b""
        frames = [self._frame(item) for item in self.reader.receive_data(data)]
        if self.reader.is_done and self.reader.failure is None:
            frames.append(self._end())
        return b"".join(frames)

    def receive_eof(self, *, clean: bool = True) -> bytes:
        frames = [self._frame(item) for item in self.reader.receive_eof(clean=clean)]
        if self.reader.failure is None:
            frames.append(self._end())
        return b"".join(frames)

    def _frame(self, item: Item) -> bytes:
        if item.event is not None:
            return encode_event(item.event)
        self._is_encoded = True
        return self._encoder.encode(item.chunk)

    def _end(self) -> bytes:
        return self._encoder.finish() if self._is_encoded else self._api.end


class PlainAnswer:
    """One answer without streaming, whatever it is of; see WholeAnswer."""

    def __init__(self, reader: AnswerReader) -> None:
        self.reader = reader

    def translate(self, body: bytes) -> bytes:
        """The upstream's JSON as it is.  Raises UpstreamError."""
        text, wrong = repair_utf8(body)
        self.reader.unicode_errors += wrong
        try:
            value = loads(text)
        except JSONError:
            value = None
        if not isinstance(value, dict):
            raise MalformedJSON("the upstream's answer is no JSON object")
        if value.get("error"):
            raise stream_error(value)
        self.reader.is_json = True
        self.reader.events += 1
        self._note(value)
        return text

    def _note(self, value: dict[str, Any]) -> None:
        """What else the record is told of an answer."""


class NativeAnswer(PlainAnswer):
    """One answer in the client's own API."""

    def __init__(
        self, api: NativeApi, identity: AnswerIdentity, content_type: str, rules: ReadingRules
    ) -> None:
        super().__init__(NativeReader(api, identity, content_type, rules))
        self._api = api

    def _note(self, value: dict[str, Any]) -> None:
        self.reader.usage = self._api.usage(value)
