"""Google's Gemini API: `models/MODEL:generateContent` and `:streamGenerateContent`.

It is an upstream's dialect and a client's (`client`).

Field names and rules are from the API reference (ai.google.dev/api/generate-content) and the guides
under ai.google.dev/gemini-api/docs.  Vertex AI speaks the same under another base URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import (
    AnswerIdentity,
    Completion,
    Dialect,
    Unsupported,
    UpstreamRequest,
)
from trio_router.dialects.fold import Fold
from trio_router.dialects.gemini.client import GeminiClient
from trio_router.dialects.gemini.counting import GeminiCounter
from trio_router.dialects.gemini.embeddings import GeminiEmbeddings
from trio_router.dialects.gemini.listing import GeminiListing
from trio_router.dialects.gemini.native import is_own
from trio_router.dialects.gemini.request import build_body
from trio_router.dialects.gemini.stream import GeminiDecoder
from trio_router.dialects.gemini.vertex import VertexEmbeddings
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import path_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.dialects.base import (
        ChunkDecoder,
        EmbeddingDialect,
        ModelListing,
        TokenCounter,
    )

__all__ = ["GeminiClient", "GeminiDialect", "VertexGeminiDialect"]

# Where models live; a name without one of these is in the first.
_COLLECTIONS = ("models", "tunedModels", "endpoints")


class GeminiDialect(Dialect):
    name = "gemini"
    embeddings: EmbeddingDialect | None = GeminiEmbeddings()
    listing: ModelListing | None = GeminiListing()

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        """Usage always comes, asked for or not."""
        told = build_body(body, Unsupported("Gemini", drop=drop_unsupported))
        verb = "streamGenerateContent?alt=sse" if body.get("stream") else "generateContent"
        return UpstreamRequest(f"/{_resource(str(body.get('model')))}:{verb}", dumps(told))

    @property
    def counter(self) -> TokenCounter:
        return GeminiCounter(_resource)

    def recognises(self, record: dict[str, Any]) -> bool:
        return is_own(record)

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return GeminiDecoder(identity)

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        """The same as its stream, folded: there is one reading of parts, not two."""
        decoder, fold = GeminiDecoder(identity), Fold(identity)
        for chunk in decoder.decode(record) + decoder.end(is_whole=True):
            fold.add(chunk)
        return fold.completion()

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"x-goog-api-key": api_key}

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        """The model's own; the verb comes behind it."""
        return {"gemini": f"/{_resource(model)}"} if model else {}


class VertexGeminiDialect(GeminiDialect):
    """On Vertex AI, whose base URL has the project, the location and the publisher."""

    embeddings: EmbeddingDialect | None = VertexEmbeddings()
    listing: ModelListing | None = None  # there is none of what a project can ask


def _resource(model: str) -> str:
    collection, slash, name = model.partition("/")
    if not slash or collection not in _COLLECTIONS:
        collection, name = _COLLECTIONS[0], model
    return f"{collection}/{path_segment(name)}"
