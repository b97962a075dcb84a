"""Calls that are never streamed: embeddings, and counting a message's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import UpstreamRequest
from trio_router.dialects.embedding_answer import EmbeddingAnswer
from trio_router.dialects.native import PlainAnswer
from trio_router.errors import InvalidRequest, NotFound
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.dialects.base import ClientDialect, EmbeddingDialect
    from trio_router.relay.call import OpenedAnswer, Whole
    from trio_router.routing.target import Target

_EMBEDDINGS = 1 << 26  # bytes of an answer: 2,048 vectors of 3,072 numbers take 34 million in base64


class _SideCall:
    """What these calls share; see WholeCall.  `body` is the client's request, checked."""

    max_answer: int | None = None

    def __init__(self, body: dict[str, Any], *, is_heavy: bool = False) -> None:
        self.is_heavy = is_heavy
        self._body = body

    def forget(self) -> None:
        self._body = {}


class EmbeddingCall(_SideCall):
    """`POST /v1/embeddings`."""

    max_answer: int | None = _EMBEDDINGS

    def request_for(self, target: Target) -> UpstreamRequest:
        dialect = _embeddings_of(target)
        body = target.body_for(self._body)
        return dialect.request(body, drop_unsupported=target.drop_unsupported)

    def whole(self, answer: OpenedAnswer) -> Whole:
        target = answer.target
        return EmbeddingAnswer(_embeddings_of(target), self._body, target.model, answer.reader())


def _embeddings_of(target: Target) -> EmbeddingDialect:
    """Raises InvalidRequest if the target's providers have none."""
    if target.dialect.embeddings is None:
        raise InvalidRequest(f"{target.provider} has no embeddings", param="model")
    return target.dialect.embeddings


class CountCall(_SideCall):
    """`POST /v1/messages/count_tokens`, for targets that speak the client's own API."""

    def __init__(
        self,
        client: ClientDialect,
        body: dict[str, Any],
        headers: Iterable[tuple[bytes, bytes]],
        *,
        is_heavy: bool = False,
    ) -> None:
        super().__init__(body, is_heavy=is_heavy)
        self._api = client.name
        own = client.native.forwarded
        self._headers = {k.decode(): v.decode("latin-1") for k, v in headers if k in own}

    def request_for(self, target: Target) -> UpstreamRequest:
        path = target.native.get(self._api)
        if path is None:
            raise NotFound(f"{target.provider} cannot count tokens: its API has no such endpoint")
        # Without the configuration's defaults: they concern answers, and this endpoint refuses them.
        body = {**self._body, "model": target.upstream_model}
        return UpstreamRequest(f"{path}/count_tokens", dumps(body), self._headers)

    def whole(self, answer: OpenedAnswer) -> Whole:
        return PlainAnswer(answer.reader())
