"""Ollama's API, `POST /api/chat` and `POST /api/generate`, as a client's.

Fields are from Ollama's API documentation (docs/api.md).  An answer is streamed unless the client says
that it must not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import ClientDialect, Unsupported
from trio_router.dialects.ollama.client_answer import OllamaEncoder, error_body, idle, line, whole
from trio_router.dialects.ollama.client_request import chat_request, check, exposed, native_body
from trio_router.dialects.ollama.dialect import OllamaDecoder

if TYPE_CHECKING:
    from trio_router.dialects.base import (
        AnswerIdentity,
        ChunkDecoder,
        Completion,
        NativeApi,
        StreamEncoder,
    )
    from trio_router.errors import RouterError

CONTENT_TYPE = "application/x-ndjson"


class OllamaApi:
    """The API as upstreams have it: see NativeApi.  `said` is the field that holds what is said."""

    end = b""
    needs_end = False
    forwarded: frozenset[bytes] = frozenset()
    tells_errors = False

    def __init__(self, said: str) -> None:
        self._said = said

    def request(self, body: dict[str, Any], *, ask_usage: bool) -> dict[str, Any]:
        return native_body(body)  # usage always comes

    def recognises(self, record: dict[str, Any]) -> bool:
        return "done" in record and self._said in record

    def whole(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return OllamaDecoder(identity)

    def missing_end(self, decoder: ChunkDecoder | None) -> bytes:
        """Of a provider whose streams may end without their last record: nothing is known of it."""
        return b"" if decoder is not None and decoder.is_done else line({"done": True})

    def says(self, event: dict[str, Any]) -> bool:
        return False

    def usage(self, record: dict[str, Any]) -> dict[str, Any] | None:
        counts = [record.get(name) for name in ("prompt_eval_count", "eval_count")]
        prompt, answer = (count if isinstance(count, int) else 0 for count in counts)
        if counts == [None, None]:
            return None
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        }


class OllamaClient(ClientDialect):
    """Clients of one of the two endpoints; see ClientDialect."""

    keepalive = b" "  # before a record it is white space; an empty line would be no record
    content_type = CONTENT_TYPE
    formats = frozenset({"ndjson", "json", "json-array", "sse"})  # whose records pass as lines
    hints = frozenset({"top_k", "min_p", "repeat_penalty"})  # which others have no word for

    def __init__(self, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        endpoint = "chat" if is_chat else "generate"
        self.name = f"ollama.{endpoint}"
        self.path = f"/api/{endpoint}"
        self.native: NativeApi = OllamaApi("message" if is_chat else "response")

    def owns(self, path: str) -> bool:
        """`/api/v1/...` is asked by OpenAI's clients whose base URL has a word too many."""
        return path.startswith("/api/") and not path.startswith("/api/v1/")

    def exposed(self, body: dict[str, Any]) -> dict[str, Any]:
        return exposed(body)

    def check(self, body: dict[str, Any]) -> None:
        check(body)
        if body.get("stream") is None:
            body["stream"] = True

    def is_idle(self, body: dict[str, Any]) -> bool:
        """Whether a checked request asks for no answer: it loads a model, or lets it go."""
        return not body.get("messages" if self._is_chat else "prompt") and not body.get("images")

    def idle_answer(self, body: dict[str, Any], identity: AnswerIdentity) -> dict[str, Any]:
        """The answer to such a request for a model that is not loaded anywhere."""
        reason = "unload" if body.get("keep_alive") in (0, "0", "0s", "0m") else "load"
        return idle(body["model"], identity, is_chat=self._is_chat, reason=reason)

    def chat_request(self, body: dict[str, Any], *, drop_unsupported: bool = False) -> dict[str, Any]:
        unsupported = Unsupported(str(body["model"]), drop=drop_unsupported)
        return chat_request(body, unsupported, is_chat=self._is_chat)

    def for_others(self, chat: dict[str, Any]) -> dict[str, Any]:
        return chat

    def encoder(self, identity: AnswerIdentity, body: dict[str, Any]) -> StreamEncoder:
        return OllamaEncoder(identity, is_chat=self._is_chat)

    def answer(
        self, completion: Completion, identity: AnswerIdentity, body: dict[str, Any]
    ) -> dict[str, Any]:
        return whole(completion, identity, is_chat=self._is_chat)

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return error_body(error)
