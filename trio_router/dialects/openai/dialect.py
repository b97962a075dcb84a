"""OpenAI's chat completions: the hub's own dialect, so most of it passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import (
    AnswerIdentity,
    Chunk,
    Completion,
    Dialect,
    UpstreamRequest,
)
from trio_router.dialects.hub import dicts, implied_finish
from trio_router.dialects.openai.counting import TokenizeCounter
from trio_router.dialects.openai.embeddings import AzureEmbeddings, OpenAIEmbeddings
from trio_router.dialects.openai.listing import OpenAIListing
from trio_router.dialects.openai.passing import AzurePassing, OpenAIPassing
from trio_router.errors import Truncated
from trio_router.wire.jsoncodec import dumps, dumps_text
from trio_router.wire.names import path_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.dialects.base import (
        ChunkDecoder,
        EmbeddingDialect,
        ModelListing,
        PassingDialect,
        TokenCounter,
    )

_OWN = frozenset({"message", "delta", "finish_reason", "index"})  # of a choice; the rest is passed on


class OpenAIDialect(Dialect):
    name = "openai"
    embeddings: EmbeddingDialect | None = OpenAIEmbeddings()
    listing: ModelListing | None = OpenAIListing()
    passing: PassingDialect | None = OpenAIPassing()
    counter: TokenCounter | None = TokenizeCounter()

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        if ask_usage and body.get("stream"):
            options = {**(body.get("stream_options") or {}), "include_usage": True}
            body = {**body, "stream_options": options}
        return UpstreamRequest("/chat/completions", dumps(body))

    def recognises(self, record: dict[str, Any]) -> bool:
        return "choices" in record

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return OpenAIDecoder()

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        if not is_whole(record) and any("delta" in choice for choice in dicts(record.get("choices"))):
            raise Truncated("the upstream's stream ended before the answer was complete")
        return None

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"}

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        return {"completions": "/completions", "responses": "/responses"}


class AzureDialect(OpenAIDialect):
    """Azure's OpenAI service: the deployment is in the path, the key in a header of its own.

    The API's version is in the query, which the provider's configuration gives.
    """

    name = "azure"
    embeddings: EmbeddingDialect | None = AzureEmbeddings()
    listing: ModelListing | None = None  # it tells which models there are, not which deployments
    passing: PassingDialect | None = AzurePassing()
    counter: TokenCounter | None = None

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        plain = super().build_request(body, ask_usage=ask_usage, drop_unsupported=drop_unsupported)
        deployment = path_segment(str(body.get("model")))
        return UpstreamRequest(f"/openai/deployments/{deployment}/chat/completions", plain.body)

    def recognises(self, record: dict[str, Any]) -> bool:
        return False  # its answers are OpenAI's

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"api-key": api_key}

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        if not model:
            return {}  # the paths hold the deployment's name
        # Responses have no deployment in their path; versions by date are of the older one.
        is_dated = query.get("api-version", "preview") not in ("preview", "latest", "v1")
        return {
            "completions": f"/openai/deployments/{path_segment(model)}/completions",
            "responses": "/openai/responses" if is_dated else "/openai/v1/responses",
        }


class OpenAIDecoder:
    """Chunks are what they are; a whole `chat.completion` becomes the chunks it could have been."""

    def __init__(self) -> None:
        self.is_done = False

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        if not is_whole(record):
            return [record]
        self.is_done = True
        return completion_to_chunks(record)


def is_whole(record: dict[str, Any]) -> bool:
    """Whether this is a whole answer rather than a chunk of one."""
    choices = record.get("choices")
    if not isinstance(choices, list) or record.get("object") == "chat.completion.chunk":
        return False
    return any(isinstance(c, dict) and _is_whole_choice(c, record.get("object")) for c in choices)


def _is_whole_choice(choice: dict[str, Any], kind: Any) -> bool:
    if "message" not in choice:
        return False
    if "delta" not in choice:
        return True
    # Perplexity puts an empty delta beside a whole message, and the message so far beside each delta.
    delta = choice["delta"]
    return kind == "chat.completion" and not (isinstance(delta, dict) and delta.get("content"))


def completion_to_chunks(completion: Completion) -> list[Chunk]:
    """A whole answer as a stream: a chunk with each message, one with each finish, one with usage."""
    frame = {k: v for k, v in completion.items() if k not in ("choices", "usage")}
    frame["object"] = "chat.completion.chunk"
    chunks = []
    for place, choice in enumerate(completion["choices"]):
        rest = {k: v for k, v in choice.items() if k not in _OWN}
        index = choice.get("index", place)
        delta = _message_to_delta(choice.get("message") or {})
        chunks.append(
            {**frame, "choices": [{"index": index, "delta": delta, **rest, "finish_reason": None}]}
        )
        if finish := choice.get("finish_reason") or implied_finish(choice):
            why = {"error": choice["error"]} if "error" in choice else {}
            last = {"index": index, "delta": {}, "finish_reason": finish, **why}
            chunks.append({**frame, "choices": [last]})
    if completion.get("usage"):
        chunks.append({**frame, "choices": [], "usage": completion["usage"]})
    return chunks


def _message_to_delta(message: dict[str, Any]) -> dict[str, Any]:
    delta = {"role": "assistant", **message}
    if isinstance(message.get("content"), dict):  # a structured answer of Cloudflare's
        delta["content"] = dumps_text(message["content"])
    if isinstance(calls := message.get("tool_calls"), list):
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    return delta
