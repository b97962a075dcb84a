"""Embeddings in Ollama's API, `POST /api/embed` and the older `/api/embeddings`, as a client's."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.hub import as_dict, dicts
from trio_router.errors import InvalidRequest, MalformedJSON


def check_embedding(body: dict[str, Any], *, is_old: bool) -> None:
    """Raises InvalidRequest, which names the field."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidRequest("model must be a string", param="model")
    if is_old:
        if not isinstance(body.get("prompt"), str | None):
            raise InvalidRequest("prompt must be a string", param="prompt")
        return
    given = body.get("input")
    texts = [given] if isinstance(given, str | None) else given
    if not isinstance(texts, list) or not all(isinstance(text, str | None) for text in texts):
        raise InvalidRequest("input must be a string or an array of strings", param="input")
    size = body.get("dimensions")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise InvalidRequest("dimensions must be a positive integer", param="dimensions")


def is_idle(body: dict[str, Any], *, is_old: bool) -> bool:
    """Whether a checked request embeds nothing: it only loads a model."""
    return not body.get("prompt" if is_old else "input")


def idle_record(model: str, *, is_old: bool) -> dict[str, Any]:
    return {"embedding": []} if is_old else {"model": model, "embeddings": []}


def embedding_request(body: dict[str, Any], *, is_old: bool) -> dict[str, Any]:
    """A checked request in OpenAI's shape, without what tells a local server how to run a model."""
    told: dict[str, Any] = {"model": body["model"], "input": body.get("prompt" if is_old else "input")}
    if body.get("dimensions"):
        told["dimensions"] = body["dimensions"]
    return told


def embedding_record(told: Any, *, is_old: bool) -> dict[str, Any]:
    """An answer in OpenAI's shape as the API's.  Raises MalformedJSON if there are no vectors in it."""
    vectors = [item.get("embedding") for item in dicts(as_dict(told).get("data"))]
    if not vectors or not all(isinstance(vector, list) for vector in vectors):
        raise MalformedJSON("the upstream's embeddings are not in its API's shape")
    if is_old:
        return {"embedding": vectors[0]}
    record = {"model": told.get("model"), "embeddings": vectors}
    count = as_dict(told.get("usage")).get("prompt_tokens")
    return record | ({"prompt_eval_count": count} if isinstance(count, int) else {})
