"""The events of a stream -> chunks.  A whole answer is read as the events it could have been.

A tool plan, which is what the model thinks before it calls tools, is reasoning in the hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.cohere.words import FAILED, FINISH, PLAIN, usage_to_hub
from trio_router.errors import StreamError

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk

EVENTS = frozenset(
    {
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "citation-end",
        "message-end",
        "debug",
    }
)


class CohereDecoder:
    """Events -> chunks: the role first, a finish reason at the end, usage last."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._identity = identity
        self._frame = identity.frame()
        self._has_begun = False
        self._has_text = False
        self._calls: dict[Any, int] = {}  # the API's index of a call -> the hub's
        self._citations = 0
        self.is_done = False

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        kind = record.get("type")
        if kind is None:
            return self._whole(record)
        delta = record.get("delta") or {}
        message = delta.get("message") or {}
        match kind:
            case "message-start":
                self._frame["id"] = record.get("id") or self._identity.id
                return self._chunks({})
            case "content-start" | "content-delta":
                return self._content(message["content"])
            case "tool-plan-delta":
                return self._say("reasoning_content", message["tool_plan"])
            case "tool-call-start":
                return self._call(record.get("index"), message["tool_calls"])
            case "tool-call-delta":
                return self._arguments(record.get("index"), message["tool_calls"])
            case "citation-start":
                return self._citation(message["citations"])
            case "message-end":
                return self._end(delta, delta.get("error"))
        return []

    def _whole(self, answer: dict[str, Any]) -> list[Chunk]:
        message = answer.get("message")
        if isinstance(message, str):  # the shape of its errors
            raise StreamError(message)
        if not isinstance(message, dict):
            raise TypeError("no message")
        self._frame["id"] = answer.get("id") or self._identity.id
        chunks = self._chunks({})
        chunks += self._say("reasoning_content", message.get("tool_plan"))
        content = message.get("content")
        for block in [{"text": content}] if isinstance(content, str) else content or ():
            chunks += self._content(block)
        for place, call in enumerate(message.get("tool_calls") or ()):
            chunks += self._call(place, call)
        for citation in message.get("citations") or ():
            chunks += self._citation(citation)
        # A body that is whole ends in good order where it says nothing else.
        reason = answer.get("finish_reason") or ("COMPLETE" if len(chunks) > 1 else None)
        return chunks + self._end({**answer, "finish_reason": reason}, None)

    def _content(self, block: dict[str, Any]) -> list[Chunk]:
        chunks = self._say("reasoning_content", block.get("thinking"))
        if text := block.get("text"):
            self._has_text = True
            chunks += self._say("content", text)
        return chunks

    def _say(self, name: str, text: Any) -> list[Chunk]:
        if not text:
            return []
        if not isinstance(text, str):
            raise TypeError(f"{name} is no string")
        return self._chunks({name: text})

    def _call(self, index: Any, call: dict[str, Any]) -> list[Chunk]:
        number = self._calls[index] = len(self._calls)
        function = call["function"]
        tail = self._identity.id.removeprefix("chatcmpl-")
        told = {
            "index": number,
            "id": call.get("id") or f"call_{tail}_{number}",
            "type": "function",
            "function": {"name": function["name"], "arguments": function.get("arguments") or ""},
        }
        return self._chunks({"tool_calls": [told]})

    def _arguments(self, index: Any, call: dict[str, Any]) -> list[Chunk]:
        piece = call["function"].get("arguments")
        if not piece:
            return []
        told = {"index": self._calls[index], "function": {"arguments": piece}}
        return self._chunks({"tool_calls": [told]})

    def _citation(self, citation: Any) -> list[Chunk]:
        """With an index, as clients ask for it of what stands in an array."""
        if isinstance(citation, list):
            return [chunk for one in citation for chunk in self._citation(one)]
        place, self._citations = self._citations, self._citations + 1
        return self._chunks({"citations": [{"index": place, **citation}]})

    def _end(self, fields: dict[str, Any], error: Any) -> list[Chunk]:
        native = str(fields.get("finish_reason") or "")
        if native in FAILED:
            told = error if isinstance(error, str) and error else "the model failed to answer"
            fault = StreamError(told)
            fault.reason = native
            raise fault
        self.is_done = True
        chunks = self._finish(native) if native else []
        if usage := fields.get("usage"):
            chunks.append({**self._frame, "choices": [], "usage": usage_to_hub(usage)})
        return chunks

    def _finish(self, native: str) -> list[Chunk]:
        reason = FINISH.get(native, "stop")
        if self._calls and reason == "stop":
            reason = "tool_calls"
        # Clients take an answer without any content for none.
        chunks = self._chunks({} if self._has_text or self._calls else {"content": ""}, reason)
        if native not in PLAIN:
            chunks[-1]["choices"][0]["native_finish_reason"] = native
        return chunks

    def _chunks(self, delta: dict[str, Any], finish: str | None = None) -> list[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            delta = {"role": "assistant", **delta}
        elif not delta and finish is None:
            return []
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return [{**self._frame, "choices": [choice]}]
