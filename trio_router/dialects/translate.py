"""An upstream's answer -> what the client gets: a stream of server-sent events, or one JSON body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects import recognise
from trio_router.dialects.answer import WRONG_SHAPE, AnswerReader, Item
from trio_router.dialects.fold import Fold
from trio_router.dialects.hub import dicts, implied_finish
from trio_router.dialects.provider_error import status_error as status_error, stream_error
from trio_router.dialects.taps import tapped
from trio_router.errors import MalformedJSON, MalformedUTF8, RouterError
from trio_router.wire.jsoncodec import JSONError, dumps, loads
from trio_router.wire.lines import repair_utf8
from trio_router.wire.sse import encode_data, encode_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.answer import ReadingRules
    from trio_router.dialects.base import (
        AnswerIdentity,
        ClientDialect,
        Completion,
        Dialect,
        StreamEncoder,
    )
    from trio_router.dialects.taps import Tap


DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keep-alive\n\n"


class StreamTranslator:
    """One stream: what `reader` reads goes through `taps`, and is encoded for the client.

    `frames` in the answers below are finished bytes for the client.
    """

    def __init__(self, reader: AnswerReader, taps: Sequence[Tap] = (), *, with_usage: bool) -> None:
        self.reader = reader
        self._items = tapped(reader, taps)
        self._with_usage = with_usage

    def receive_data(self, data: bytes) -> bytes:
        """The frames that `data` completes, the end's among them; then look at `reader.failure`.

        Data after the end does not belong to the answer and gives nothing.
        """
        if self.reader.is_done:
            return b""
        frames = [self._frame(item) for item in self._items.receive_data(data)]
        if self.reader.is_done and self.reader.failure is None:
            frames.append(DONE)
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def receive_eof(self, *, clean: bool = True) -> bytes:
        """The last frames; then look at `reader.failure`.  Not to be called once `reader.is_done`."""
        frames = [self._frame(item) for item in self._items.receive_eof(clean=clean)]
        if self.reader.failure is None:
            frames.append(DONE)
        return b"".join(frames)

    def fail(self, error: RouterError) -> bytes:
        return render_error(error)

    def going_on(self, reader: AnswerReader, taps: Sequence[Tap]) -> StreamTranslator:
        return StreamTranslator(reader, taps, with_usage=self._with_usage)

    def _frame(self, item: Item) -> bytes:
        chunk, event = item.chunk, item.event
        if not self._with_usage and not chunk.get("choices") and chunk.get("usage"):
            return b""
        if event is None:
            return encode_data(dumps(chunk))
        is_plain = event.event == b"message" and not event.own_id and event.retry is None
        if is_plain and b"\n" not in event.data and b"\r" not in event.data:
            return encode_data(event.data)
        return encode_event(event)


class EncodedTranslator:
    """One stream for a client of another API; see StreamTranslator."""

    def __init__(self, reader: AnswerReader, encoder: StreamEncoder, taps: Sequence[Tap] = ()) -> None:
        self.reader = reader
        self._items = tapped(reader, taps)
        self._encoder = encoder

    def receive_data(self, data: bytes) -> bytes:
        if self.reader.is_done:
            return b""
        frames = [self._encoder.encode(item.chunk) for item in self._items.receive_data(data)]
        if self.reader.is_done and self.reader.failure is None:
            frames.append(self._encoder.finish())
        return b"".join(frames)

    def receive_eof(self, *, clean: bool = True) -> bytes:
        frames = [self._encoder.encode(item.chunk) for item in self._items.receive_eof(clean=clean)]
        if self.reader.failure is None:
            frames.append(self._encoder.finish())
        return b"".join(frames)

    def fail(self, error: RouterError) -> bytes:
        return self._encoder.fail(error)

    def going_on(self, reader: AnswerReader, taps: Sequence[Tap]) -> EncodedTranslator:
        return EncodedTranslator(reader, self._encoder, taps)


def render_error(error: RouterError) -> bytes:
    """The one event that ends a stream badly.  No [DONE] follows it."""
    return encode_data(dumps(error.body()))


class WholeAnswer:
    """An answer that was asked for without streaming, whatever came: JSON, NDJSON or events."""

    def __init__(
        self, dialect: Dialect, identity: AnswerIdentity, content_type: str, rules: ReadingRules
    ) -> None:
        self._dialect = dialect
        self._identity = identity
        self._rules = rules
        self.reader = AnswerReader(dialect, identity, content_type, rules)

    def translate(self, body: bytes) -> bytes:
        """The client's JSON.  Raises UpstreamError."""
        completion, text = self.read(body)
        return text or dumps(completion)

    def read(self, body: bytes) -> tuple[Completion, bytes]:
        """The completion; and its own text, if it came in the hub's shape.  Raises UpstreamError."""
        text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
        if text.startswith(b"{"):
            mended, wrong = repair_utf8(text)
            try:
                value = loads(mended)
            except JSONError:
                pass
            else:
                self.reader.unicode_errors += wrong
                if wrong and self._rules.invalid_utf8 == "error":
                    raise MalformedUTF8("the upstream's answer is not UTF-8")
                return self._from_json(value, mended)
        return self._folded(body), b""

    def _from_json(self, value: dict[str, Any], text: bytes) -> tuple[Completion, bytes]:
        if value.get("error"):
            raise stream_error(value)
        self.reader.is_json = True
        dialect = recognise(value, self._dialect)
        if not dialect.recognises(value):
            raise MalformedJSON("the upstream's answer is no chat completion")
        try:
            completion = dialect.completion(value, self._identity)
        except WRONG_SHAPE:
            raise MalformedJSON("the upstream's answer has an unexpected shape") from None
        self.reader.events += 1
        self.reader.observe(value if completion is None else completion)
        self.reader.judge()
        return (value, text) if completion is None else (completion, b"")

    def _folded(self, body: bytes) -> Completion:
        items = self.reader.receive_data(body)
        items += self.reader.receive_eof()
        if self.reader.failure:
            raise self.reader.failure
        fold = Fold(self._identity)
        try:
            for item in items:
                fold.add(item.chunk)
            return fold.completion()
        except WRONG_SHAPE:
            raise MalformedJSON("the upstream's answer has an unexpected shape") from None


class EncodedAnswer:
    """An answer without streaming for a client of another API; see WholeAnswer."""

    def __init__(
        self,
        answer: WholeAnswer,
        client: ClientDialect,
        identity: AnswerIdentity,
        body: dict[str, Any],
    ) -> None:
        self.reader = answer.reader
        self._answer = answer
        self._client = client
        self._identity = identity
        self._body = body

    def translate(self, body: bytes) -> bytes:
        completion, _ = self._answer.read(body)
        if self.reader.is_json:
            completion = {**completion, "choices": [*map(_ended, dicts(completion.get("choices")))]}
        try:
            return dumps(self._client.answer(completion, self._identity, self._body))
        except WRONG_SHAPE:
            raise MalformedJSON("the upstream's answer has an unexpected shape") from None


def _ended(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice of a whole JSON body, with its finish reason: as it has in a stream made of it."""
    return {**choice, "finish_reason": choice.get("finish_reason") or implied_finish(choice)}
