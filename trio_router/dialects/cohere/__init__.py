"""Cohere's chat API, version 2: `POST /chat`.

Field names and rules are from the API reference (docs.cohere.com/reference/chat and chat-stream).
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
from trio_router.dialects.cohere.embeddings import CohereEmbeddings
from trio_router.dialects.cohere.listing import CohereListing
from trio_router.dialects.cohere.request import build_body
from trio_router.dialects.cohere.stream import EVENTS, CohereDecoder
from trio_router.dialects.fold import Fold
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.base import ChunkDecoder

__all__ = ["CohereDialect"]


class CohereDialect(Dialect):
    name = "cohere"
    embeddings = CohereEmbeddings()
    listing = CohereListing()

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        """Usage always comes, asked for or not."""
        unsupported = Unsupported("Cohere", drop=drop_unsupported)
        return UpstreamRequest("/chat", dumps(build_body(body, unsupported)))

    def recognises(self, record: dict[str, Any]) -> bool:
        if "choices" in record:
            return False
        kind = record.get("type")
        if isinstance(kind, str):
            return kind in EVENTS
        return isinstance(record.get("message"), dict) and "finish_reason" in record

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return CohereDecoder(identity)

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        """The same as its stream, folded: there is one reading of messages, not two.

        Raises ValueError if it is no whole answer.
        """
        if "type" in record:
            raise ValueError("an event of a stream is no whole answer")
        fold = Fold(identity)
        for chunk in CohereDecoder(identity).decode(record):
            fold.add(chunk)
        return fold.completion()

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"}
