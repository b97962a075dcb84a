"""Calls that are never streamed: embeddings.  `counting` has another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.embedding_answer import EmbeddingAnswer
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import EmbeddingDialect, UpstreamRequest
    from trio_router.relay.call import OpenedAnswer, Whole
    from trio_router.routing.target import Target

_EMBEDDINGS = 1 << 26  # bytes of an answer: 2,048 vectors of 3,072 numbers take 34 million in base64


class SideCall:
    """What these calls share; see WholeCall.  `body` is the client's request, checked."""

    max_answer: int | None = None

    def __init__(self, body: dict[str, Any], *, is_heavy: bool = False) -> None:
        self.is_heavy = is_heavy
        self._body = body

    def forget(self) -> None:
        self._body = {}


class EmbeddingCall(SideCall):
    """`POST /v1/embeddings`."""

    max_answer: int | None = _EMBEDDINGS

    def request_for(self, target: Target) -> UpstreamRequest:
        dialect = embeddings_of(target)
        body = target.body_for(self._body)
        return dialect.request(body, drop_unsupported=target.drop_unsupported)

    def whole(self, answer: OpenedAnswer) -> Whole:
        target = answer.target
        return EmbeddingAnswer(embeddings_of(target), self._body, target.model, answer.reader())


def embeddings_of(target: Target) -> EmbeddingDialect:
    """Raises InvalidRequest if the target's providers have none."""
    if target.dialect.embeddings is None:
        raise InvalidRequest(f"{target.provider} has no embeddings", param="model")
    return target.dialect.embeddings
