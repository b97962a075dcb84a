"""An upstream's embeddings as OpenAI's clients take them."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.dialects.provider_error import stream_error
from trio_router.errors import MalformedJSON
from trio_router.wire.jsoncodec import JSONError, dumps, is_sliced, loads, skim

if TYPE_CHECKING:
    from trio_router.dialects.answer import AnswerReader
    from trio_router.dialects.base import EmbeddingDialect, Embeddings


class _Head(msgspec.Struct):
    """What we need of OpenAI's own answer: its vectors are checked as JSON, and made into nothing."""

    error: Any = None
    usage: Any = None


_read_head = msgspec.json.Decoder(_Head).decode


class EmbeddingAnswer:
    """One answer; see WholeAnswer.  `body` is the client's request, `model` what it asked for."""

    def __init__(
        self, dialect: EmbeddingDialect, body: dict[str, Any], model: str, reader: AnswerReader
    ) -> None:
        self.reader = reader
        self._dialect = dialect
        self._is_base64 = body.get("encoding_format") == "base64"
        self._inputs = len(body["input"]) if _is_many(body["input"]) else 1
        self._model = model

    def translate(self, body: bytes) -> bytes:
        """OpenAI's own bytes as they are, others' in OpenAI's shape.  Raises UpstreamError."""
        self.reader.is_json = True
        self.reader.events += 1
        if self._dialect.is_openai:
            return self._pass(body)
        try:
            record = loads(body)
        except JSONError:
            record = None
        if not isinstance(record, dict):
            raise self._malformed("no JSON object")
        if record.get("error"):
            raise stream_error(record)
        try:
            found = self._dialect.embeddings(record)
            answer = dumps(self._told(found))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error):
            raise self._malformed("not in its API's shape") from None
        if len(found.vectors) != self._inputs:
            raise self._malformed(f"{len(found.vectors)} vectors for {self._inputs} inputs")
        return answer

    def _pass(self, body: bytes) -> bytes:
        try:
            head = _read_head(dumps(_fields(skim(body))) if is_sliced() else body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, JSONError):
            raise self._malformed("no JSON object") from None
        if head.error:
            raise stream_error({"error": head.error})
        if isinstance(head.usage, dict):
            self.reader.usage = head.usage
        return body

    def _told(self, found: Embeddings) -> dict[str, Any]:
        tokens = found.prompt_tokens or 0
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        if found.prompt_tokens is not None:
            self.reader.usage = usage
        data = [
            {"object": "embedding", "index": index, "embedding": self._encoded(vector)}
            for index, vector in enumerate(found.vectors)
        ]
        return {"object": "list", "data": data, "model": found.model or self._model, "usage": usage}

    def _encoded(self, vector: list[float]) -> list[float] | str:
        packed = struct.pack(f"<{len(vector)}f", *vector)  # also the proof that these are numbers
        return base64.b64encode(packed).decode() if self._is_base64 else vector

    def _malformed(self, what: str) -> MalformedJSON:
        self.reader.json_errors += 1
        self.reader.events_failed += 1
        return MalformedJSON(f"the upstream's embeddings are {what}")


def _fields(value: Any) -> Any:
    """What `_Head` has, of an object; anything else as it is."""
    if not isinstance(value, dict):
        return value
    return {name: value[name] for name in ("error", "usage") if name in value}


def _is_many(given: Any) -> bool:
    return isinstance(given, list) and not isinstance(given[0], int)
