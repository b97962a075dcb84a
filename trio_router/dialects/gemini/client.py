"""The Gemini API as clients speak it: Google's SDKs, Gemini CLI.

Paths are `/v1beta/models/MODEL:VERB`; the endpoint puts the model and whether the answer is to be
streamed into the body, under the hub's names for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import AnswerIdentity, ClientDialect, Completion, Unsupported
from trio_router.dialects.gemini import client_request
from trio_router.dialects.gemini.client_stream import RecordWriter, whole
from trio_router.dialects.gemini.errors import error_body
from trio_router.dialects.gemini.framing import ARRAY_END, SILENCE, ArrayFraming, EventFraming
from trio_router.dialects.gemini.listing import GeminiListing
from trio_router.dialects.gemini.native import GeminiApi, exposed
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.base import Chunk, NativeApi, StreamEncoder
    from trio_router.dialects.gemini.framing import Framing
    from trio_router.errors import RouterError
    from trio_router.wire.sse import ServerSentEvent

KEY_HEADER = b"x-goog-api-key"
VERSIONS = ("/v1beta/", "/v1alpha/")  # what lies below them, in Google's APIs alone
VERBS = frozenset(
    {"generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"}
)


class GeminiClient(ClientDialect):
    """`is_array`: streams are arrays of records, not server-sent events."""

    name = "gemini"
    dialect = "gemini"
    path = "/v1beta/models"
    header = KEY_HEADER
    models = GeminiListing()
    keepalive = SILENCE
    formats = frozenset({"sse", "json-array", "json"})  # whose records pass: all hold the same ones
    hints = frozenset({"top_p", "top_k"})  # Gemini CLI sends them with every request

    def __init__(self, *, is_array: bool = False) -> None:
        self._is_array = is_array
        self.native: NativeApi = GeminiApi(ARRAY_END if is_array else b"")
        self.content_type = "application/json" if is_array else "text/event-stream; charset=utf-8"

    def native_path(self, path: str, body: dict[str, Any]) -> str:
        """`path` is the model's."""
        if not body.get("stream"):
            return f"{path}:generateContent"
        return f"{path}:streamGenerateContent{'' if self._is_array else '?alt=sse'}"

    def exposed(self, body: dict[str, Any]) -> dict[str, Any]:
        return exposed(body)

    def owns(self, path: str) -> bool:
        """Under `/v1` a colon may also stand in a model's name, of which OpenAI's clients ask."""
        return path.startswith(VERSIONS) or path.rpartition(":")[2] in VERBS

    def check(self, body: dict[str, Any]) -> None:
        client_request.check(body)

    def chat_request(self, body: dict[str, Any], *, drop_unsupported: bool = False) -> dict[str, Any]:
        unsupported = Unsupported(str(body["model"]), drop=drop_unsupported)
        return client_request.chat_request(body, unsupported)

    def for_others(self, chat: dict[str, Any]) -> dict[str, Any]:
        return chat

    def encoder(self, identity: AnswerIdentity, body: dict[str, Any]) -> StreamEncoder:
        return GeminiEncoder(identity, ArrayFraming() if self._is_array else EventFraming())

    def answer(
        self, completion: Completion, identity: AnswerIdentity, body: dict[str, Any]
    ) -> dict[str, Any]:
        return whole(completion, identity)

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return error_body(error)


class GeminiEncoder:
    """One answer's chunks as records.  See FramingEncoder."""

    def __init__(self, identity: AnswerIdentity, framing: Framing) -> None:
        self._writer = RecordWriter(identity)
        self._framing = framing

    def encode(self, chunk: Chunk) -> bytes:
        record = self._writer.add(chunk)
        return b"" if record is None else self._framing.frame(dumps(record))

    def passes(self, event: dict[str, Any]) -> bool:
        return True

    def framed(self, event: ServerSentEvent) -> bytes:
        return self._framing.frame(event.data)

    def finish(self) -> bytes:
        return self._framing.frame(dumps(self._writer.end())) + self._framing.end()

    def fail(self, error: RouterError) -> bytes:
        return self._framing.frame(dumps(error_body(error))) + self._framing.end()
