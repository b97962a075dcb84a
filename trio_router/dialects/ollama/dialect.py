"""Ollama's own chat API: `POST /api/chat`, NDJSON records.

Field names are from Ollama's API documentation (docs/api.md, "Generate a chat completion").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import (
    AnswerIdentity,
    Chunk,
    Completion,
    Dialect,
    Unsupported,
    UpstreamRequest,
)
from trio_router.dialects.ollama.embeddings import OllamaEmbeddings
from trio_router.dialects.ollama.listing import OllamaListing
from trio_router.dialects.ollama.request import build_body
from trio_router.errors import Truncated
from trio_router.wire.jsoncodec import dumps, dumps_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.dialects.base import ChunkDecoder

_FINISH = {"length": "length", "stop": "stop"}
_NATIVE = {"ollama.chat": "/api/chat", "ollama.generate": "/api/generate"}


class OllamaDialect(Dialect):
    name = "ollama"
    embeddings = OllamaEmbeddings()
    listing = OllamaListing()

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        unsupported = Unsupported("Ollama", drop=drop_unsupported)
        return UpstreamRequest("/api/chat", dumps(build_body(body, unsupported)))

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        return _NATIVE

    def recognises(self, record: dict[str, Any]) -> bool:
        is_own = "done" in record or isinstance(record.get("response"), str)
        return is_own and "choices" not in record

    def base_url_complaint(self, base_url: str) -> str:
        if not base_url.endswith(("/v1", "/api", "/api/chat")):
            return ""
        return (
            "base_url of an Ollama is its root, such as http://127.0.0.1:11434 "
            "(dialect: openai speaks to its /v1)"
        )

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return OllamaDecoder(identity)

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        if record.get("done") is False:
            raise Truncated("the upstream's stream ended before the answer was complete")
        reader = _Records(identity)
        message: dict[str, Any] = {"role": "assistant", "content": None, **reader.delta(record)}
        if message["content"] is None and "tool_calls" not in message:
            message["content"] = ""
        for call in message.get("tool_calls", ()):
            del call["index"]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": reader.finish(record),
        }
        return {
            "id": identity.id,
            "object": "chat.completion",
            "created": identity.created,
            "model": reader.model(record),
            "choices": [choice],
            "usage": _usage(record),
        }

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"}


class _Records:
    """What records mean, and what must be remembered from one to the next: the tool calls so far."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._identity = identity
        self._calls = 0

    def model(self, record: dict[str, Any]) -> str:
        return str(record.get("model") or self._identity.model)

    def delta(self, record: dict[str, Any]) -> dict[str, Any]:
        message = record.get("message")
        if not isinstance(message, dict):
            # `/api/generate` and servers like it say the same in other fields.
            message = {name: record.get(name) for name in ("thinking", "tool_calls")}
            message["content"] = record.get("response")
        delta: dict[str, Any] = {}
        if thinking := message.get("thinking"):
            delta["reasoning_content"] = _text(thinking)
        if content := message.get("content"):
            delta["content"] = _text(content)
        if calls := message.get("tool_calls"):
            delta["tool_calls"] = [self._call(call) for call in calls if isinstance(call, dict)]
        return delta

    def finish(self, record: dict[str, Any]) -> str:
        reason = _FINISH.get(str(record.get("done_reason") or "stop"), "stop")
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        """Ollama gives no index, an id only sometimes, and arguments as an object, always whole."""
        index, self._calls = self._calls, self._calls + 1
        function = call.get("function") or {}
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = dumps_text({} if arguments is None else arguments)
        tail = self._identity.id.removeprefix("chatcmpl-")
        return {
            "index": index,
            "id": call.get("id") or f"call_{tail}_{index}",
            "type": "function",
            "function": {"name": function.get("name", ""), "arguments": arguments},
        }


class OllamaDecoder:
    """Records -> chunks: the role first, a finish reason at the end, usage last."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._frame = identity.frame()
        self._records = _Records(identity)
        self._has_begun = False
        self.is_done = False

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        self.is_done = record.get("done") is True
        delta = self._records.delta(record)
        chunks = []
        if delta or not self._has_begun:
            chunks.append(self._chunk(record, self._with_role(delta), None))
        if self.is_done:
            chunks.append(self._chunk(record, {}, self._records.finish(record)))
            named = {**self._frame, "model": self._records.model(record)}
            chunks.append({**named, "choices": [], "usage": _usage(record)})
        return chunks

    def _with_role(self, delta: dict[str, Any]) -> dict[str, Any]:
        if self._has_begun:
            return delta
        self._has_begun = True
        return {"role": "assistant", "content": "", **delta}

    def _chunk(self, record: dict[str, Any], delta: dict[str, Any], finish: str | None) -> Chunk:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._frame, "model": self._records.model(record), "choices": [choice]}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text is no string")
    return value


def _usage(record: dict[str, Any]) -> dict[str, int]:
    prompt, answer = _count(record, "prompt_eval_count"), _count(record, "eval_count")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }


def _count(record: dict[str, Any], name: str) -> int:
    value = record.get(name)
    return value if isinstance(value, int) else 0
