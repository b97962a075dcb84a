"""Cohere's embeddings: `POST /embed` of its API's second version (docs.cohere.com/reference/embed)."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import Embeddings, Unsupported, UpstreamRequest
from trio_router.dialects.embedding import refuse_others, texts_of
from trio_router.wire.jsoncodec import dumps

_KNOWN = frozenset({"dimensions", "input_type", "truncate"})


class CohereEmbeddings:
    is_openai = False

    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        refuse_others(body, _KNOWN, Unsupported("Cohere", drop=drop_unsupported))
        asked = {
            "model": body["model"],
            "texts": texts_of(body, "Cohere"),
            # Cohere wants one; what is embedded without a word is more often stored than searched with.
            "input_type": body.get("input_type") or "search_document",
            "embedding_types": ["float"],
        }
        if body.get("dimensions") is not None:
            asked["output_dimension"] = body["dimensions"]
        if body.get("truncate") is not None:
            asked["truncate"] = body["truncate"]
        return UpstreamRequest("/embed", dumps(asked))

    def embeddings(self, record: dict[str, Any]) -> Embeddings:
        billed = (record.get("meta") or {}).get("billed_units") or {}
        tokens = billed.get("input_tokens")
        return Embeddings(record["embeddings"]["float"], None if tokens is None else int(tokens), None)
