"""Ollama's embeddings: `POST /api/embed` (docs/api.md, "Generate Embeddings")."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import Embeddings, Unsupported, UpstreamRequest
from trio_router.dialects.embedding import refuse_others, texts_of
from trio_router.wire.jsoncodec import dumps

_KNOWN = frozenset({"dimensions", "truncate", "options", "keep_alive"})


class OllamaEmbeddings:
    is_openai = False

    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        refuse_others(body, _KNOWN, Unsupported("Ollama", drop=drop_unsupported))
        asked = {name: body[name] for name in _KNOWN if body.get(name) is not None}
        asked |= {"model": body["model"], "input": texts_of(body, "Ollama")}
        return UpstreamRequest("/api/embed", dumps(asked))

    def embeddings(self, record: dict[str, Any]) -> Embeddings:
        return Embeddings(record["embeddings"], record.get("prompt_eval_count"), record.get("model"))
