"""OpenAI's embeddings: `POST /embeddings`, which clients ask for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import UpstreamRequest
from trio_router.dialects.openai.passing import AzurePassing
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.base import Embeddings


class OpenAIEmbeddings:
    is_openai = True

    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        return UpstreamRequest("/embeddings", dumps(body))

    def embeddings(self, record: dict[str, Any]) -> Embeddings:
        raise NotImplementedError("these pass as they are")


class AzureEmbeddings(OpenAIEmbeddings):
    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        path = AzurePassing().passing_path("/embeddings", str(body["model"]))
        return UpstreamRequest(path, dumps(body))
