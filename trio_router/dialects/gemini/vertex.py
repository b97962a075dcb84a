"""Embeddings of Google's Vertex AI: `models/MODEL:predict`, one text in each instance.

From Google's reference of the text embeddings API.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import Embeddings, Unsupported, UpstreamRequest
from trio_router.dialects.embedding import refuse_others, texts_of
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import path_segment

_FIELDS = ("dimensions", "task_type", "title")


class VertexEmbeddings:
    is_openai = False

    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        refuse_others(body, dict.fromkeys(_FIELDS).keys(), Unsupported("Vertex", drop=drop_unsupported))
        fields = {name: body[name] for name in ("task_type", "title") if body.get(name) is not None}
        told: dict[str, Any] = {
            "instances": [{"content": text, **fields} for text in texts_of(body, "Vertex")]
        }
        if body.get("dimensions") is not None:
            told["parameters"] = {"outputDimensionality": body["dimensions"]}
        return UpstreamRequest(f"/models/{path_segment(str(body['model']))}:predict", dumps(told))

    def embeddings(self, record: dict[str, Any]) -> Embeddings:
        found = [one["embeddings"] for one in record["predictions"]]
        counts = [(one.get("statistics") or {}).get("token_count") for one in found]
        known = [int(count) for count in counts if isinstance(count, int | float)]
        tokens = sum(known) if len(known) == len(counts) else None
        return Embeddings([one["values"] for one in found], tokens, None)
