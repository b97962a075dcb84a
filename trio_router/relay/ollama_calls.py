"""Calls of Ollama's API that are never streamed: embeddings, and what is known of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import UpstreamRequest
from trio_router.dialects.native import PlainAnswer
from trio_router.dialects.ollama.client_embedding import embedding_record, embedding_request
from trio_router.relay.side_calls import EmbeddingCall
from trio_router.wire.jsoncodec import dumps, loads

if TYPE_CHECKING:
    from trio_router.relay.call import OpenedAnswer, Whole
    from trio_router.routing.target import Target


def speaks_ollama(target: Target) -> bool:
    """Whether requests of this API pass through to `target`."""
    return "ollama.chat" in target.native


class OllamaEmbedCall(EmbeddingCall):
    """`POST /api/embed`, and `/api/embeddings` as `is_old`.  `body` is the client's, checked."""

    def __init__(self, body: dict[str, Any], *, is_old: bool, is_heavy: bool = False) -> None:
        super().__init__(embedding_request(body, is_old=is_old), is_heavy=is_heavy)
        self._own = body
        self._is_old = is_old

    def request_for(self, target: Target) -> UpstreamRequest:
        if (path := self._native(target)) is None:
            return super().request_for(target)
        return UpstreamRequest(path, dumps(target.body_for(self._own)))

    def whole(self, answer: OpenedAnswer) -> Whole:
        if self._native(answer.target) is None:
            return _Translated(super().whole(answer), is_old=self._is_old)
        return PlainAnswer(answer.reader())

    def forget(self) -> None:
        super().forget()
        self._own = {}

    def _native(self, target: Target) -> str | None:
        path = "/api/embeddings" if self._is_old else "/api/embed"
        return path if speaks_ollama(target) else None


class _Translated:
    """Embeddings in OpenAI's shape, as clients of this API get them; see WholeAnswer."""

    def __init__(self, answer: Whole, *, is_old: bool) -> None:
        self.reader = answer.reader
        self._answer = answer
        self._is_old = is_old

    def translate(self, body: bytes) -> bytes:
        told = loads(self._answer.translate(body))
        return dumps(embedding_record(told, is_old=self._is_old))


class ShowCall:
    """`POST /api/show`, of a target that speaks the API itself.  See WholeCall."""

    is_heavy = False
    max_answer: int | None = None

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = {name: value for name, value in body.items() if name not in ("name", "model")}

    def request_for(self, target: Target) -> UpstreamRequest:
        asked = {**self._body, "model": target.upstream_model}
        return UpstreamRequest("/api/show", dumps(asked))

    def whole(self, answer: OpenedAnswer) -> Whole:
        return PlainAnswer(answer.reader())

    def forget(self) -> None:
        self._body = {}
