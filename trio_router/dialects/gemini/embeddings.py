"""Gemini's embeddings: `models/M:embedContent`, and `:batchEmbedContents` for several texts.

Field names are from the API reference (ai.google.dev/api/embeddings).
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import Embeddings, Unsupported, UpstreamRequest
from trio_router.dialects.embedding import refuse_others, texts_of
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import path_segment

_FIELDS = {"dimensions": "outputDimensionality", "task_type": "taskType", "title": "title"}


class GeminiEmbeddings:
    is_openai = False

    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        refuse_others(body, _FIELDS.keys(), Unsupported("Gemini", drop=drop_unsupported))
        name = str(body["model"]).removeprefix("models/")
        path = f"/models/{path_segment(name)}"
        fields = {theirs: body[ours] for ours, theirs in _FIELDS.items() if body.get(ours) is not None}
        asked = [
            {"model": f"models/{name}", "content": {"parts": [{"text": text}]}, **fields}
            for text in texts_of(body, "Gemini")
        ]
        if len(asked) == 1:
            return UpstreamRequest(f"{path}:embedContent", dumps(asked[0]))
        return UpstreamRequest(f"{path}:batchEmbedContents", dumps({"requests": asked}))

    def embeddings(self, record: dict[str, Any]) -> Embeddings:
        found = record["embeddings"] if "embeddings" in record else [record["embedding"]]
        usage = record.get("usageMetadata") or {}
        return Embeddings([one["values"] for one in found], usage.get("promptTokenCount"), None)
