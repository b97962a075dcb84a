"""`embedContent` and `batchEmbedContents` of a client, and what counts tokens."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from trio_router.dialects.base import Embeddings
from trio_router.dialects.gemini.names import in_camel
from trio_router.errors import InvalidRequest

_WRAPPED = ("generateContentRequest", "generate_content_request")


def resource(path: str) -> str:
    """The name of the model that has `path` (`models/gemini-embedding-001`)."""
    return unquote(path.removeprefix("/"))


def counted(body: dict[str, Any]) -> dict[str, Any]:
    """What `countTokens` is asked about, as a request for content.  Raises InvalidRequest."""
    asked = next((body[name] for name in _WRAPPED if body.get(name) is not None), body)
    if not isinstance(asked, dict) or not isinstance(asked.get("contents"), list):
        raise InvalidRequest("contents must be an array", param="contents")
    return asked


def with_model(body: dict[str, Any], name: str) -> dict[str, Any]:
    """`body`, and the requests in it, with the upstream's name of the model; it is not changed."""
    told = dict(body)
    if "model" in told:
        told["model"] = name
    for wrapped in _WRAPPED:
        if isinstance(told.get(wrapped), dict):
            told[wrapped] = {**told[wrapped], "model": name}
    if isinstance(told.get("requests"), list):
        told["requests"] = [
            {**one, "model": name} if isinstance(one, dict) else one for one in told["requests"]
        ]
    return told


def embedding_request(body: dict[str, Any], *, are_many: bool) -> dict[str, Any]:
    """The same in OpenAI's shape, without a model.  Raises InvalidRequest, which names the field."""
    asked = in_camel(body)
    requests = asked.get("requests") if are_many else [asked]
    if not isinstance(requests, list) or not requests:
        raise InvalidRequest("requests must be an array, and not empty", param="requests")
    places = [f"requests[{number}]." if are_many else "" for number in range(len(requests))]
    texts = [_text(one, place) for one, place in zip(requests, places, strict=True)]
    told: dict[str, Any] = {"input": texts}
    sizes = {one.get("outputDimensionality") for one in requests}
    if len(sizes) > 1:
        where = f"{places[-1]}outputDimensionality"
        raise InvalidRequest(f"{where} must be the same in all requests", param=where)
    size = sizes.pop()
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            where = f"{places[0]}outputDimensionality"
            raise InvalidRequest(f"{where} must be a positive integer", param=where)
        told["dimensions"] = size
    return told


def _text(request: Any, place: str) -> str:
    """All of one content is one text."""
    content = request.get("content") if isinstance(request, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else None
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list) or not parts:
        raise InvalidRequest(f"{place}content must have parts", param=f"{place}content")
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            where = f"{place}content.parts[{number}].text"
            raise InvalidRequest(f"{where}: only texts can be embedded", param=where)
    text = "\n".join(part["text"] for part in parts)
    if not text:
        raise InvalidRequest(f"{place}content must not be empty", param=f"{place}content")
    return text


def read_openai(record: dict[str, Any]) -> Embeddings:
    """Raises KeyError, TypeError or AttributeError for what has another shape."""
    data = sorted(record["data"], key=lambda one: one.get("index") or 0)
    usage = record.get("usage") or {}
    return Embeddings([one["embedding"] for one in data], usage.get("prompt_tokens"), None)


def told(found: Embeddings, *, are_many: bool) -> dict[str, Any]:
    """Raises TypeError for what are no vectors."""
    if not all(isinstance(vector, list) for vector in found.vectors):
        raise TypeError("no vectors")
    embeddings = [{"values": vector} for vector in found.vectors]
    answer: dict[str, Any] = {"embeddings": embeddings} if are_many else {"embedding": embeddings[0]}
    if isinstance(found.prompt_tokens, int):
        answer["usageMetadata"] = {"promptTokenCount": found.prompt_tokens}
    return answer
