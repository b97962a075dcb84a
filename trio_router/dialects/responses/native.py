"""The API as upstreams have it: what passes by is read for the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import as_dict, dicts, has_words
from trio_router.dialects.responses.response import usage_to_hub
from trio_router.errors import StreamError

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk, ChunkDecoder

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_LONGEST_ID = 256  # characters of a response's id that is remembered
_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


# Of an event: what it may say, beside a delta.
_CONTENT = ("item", "part", "text", "refusal", "arguments", "input", "annotation")


class ResponsesApi:
    end = b""
    needs_end = True
    # By these the API keeps a conversation where it is cached.
    forwarded = frozenset({b"session-id", b"session_id", b"thread-id", b"conversation_id"})
    tells_errors = True

    def request(self, body: dict[str, Any], *, ask_usage: bool) -> dict[str, Any]:
        return body  # usage always comes

    def recognises(self, record: dict[str, Any]) -> bool:
        kind = record.get("type")
        is_event = isinstance(kind, str) and (kind.startswith("response.") or kind == "error")
        return is_event or record.get("object") == "response" or "output" in record

    def whole(self, event: dict[str, Any]) -> dict[str, Any] | None:
        response = event.get("response")
        return response if isinstance(response, dict) and event.get("type") in _ENDS else None

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return ResponsesReader()

    def missing_end(self, decoder: ChunkDecoder | None) -> bytes:
        return b""  # the event that tells the reason is the last one

    def says(self, event: dict[str, Any]) -> bool:
        kind = event.get("type")
        if not isinstance(kind, str):
            return False
        if kind.endswith(".delta"):
            return bool(event.get("delta"))
        # What the API's own tools tell of their work; a call of the client's begins as an item.
        return "_call" in kind or any(_is_said(event.get(name)) for name in _CONTENT)

    def usage(self, record: dict[str, Any]) -> dict[str, Any] | None:
        return usage_to_hub(record.get("usage"))


def _is_said(value: Any) -> bool:
    """An item or a part says something unless it is an empty message, reasoning or text."""
    if not isinstance(value, dict):
        return bool(value)
    if "_call" in str(value.get("type")):
        return True
    return has_words({k: v for k, v in value.items() if k not in ("phase", "encrypted_content")})


class ResponsesReader:
    """Of a stream, nothing but the end; of a whole response, the chunks it could have been."""

    def __init__(self) -> None:
        self.is_done = False
        self.response_id: str | None = None

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        kind = record.get("type")
        if kind == "error":
            raise _failure(record, "the upstream reported an error in its stream")
        if record.get("object") == "response" or (kind is None and "output" in record):
            self.is_done = True
            self._note_id(record)
            return _chunks(record)
        if kind not in _ENDS:
            return []
        self.is_done = True
        response = as_dict(record.get("response"))
        self._note_id(response)
        if kind == "response.failed":
            raise _failure(as_dict(response.get("error")), "the upstream's response failed")
        return [_last_chunk(response, "stop")]

    def _note_id(self, response: dict[str, Any]) -> None:
        name = response.get("id")
        self.response_id = name if isinstance(name, str) and len(name) <= _LONGEST_ID else None


def _chunks(response: dict[str, Any]) -> list[Chunk]:
    frame = {"id": response.get("id"), "model": response.get("model")}
    deltas = [delta for item in dicts(response.get("output")) for delta in _deltas(item)]
    chunks = [{**frame, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    finish = "tool_calls" if any("tool_calls" in delta for delta in deltas) else "stop"
    if not deltas and not response.get("status"):
        return []  # not even how it ended
    return [*chunks, {**frame, **_last_chunk(response, finish)}]


def _deltas(item: dict[str, Any]) -> list[dict[str, Any]]:
    match item.get("type"):
        case "message":
            return [_said(part) for part in dicts(item.get("content"))]
        case "reasoning":
            texts = dicts(item.get("content")) or dicts(item.get("summary"))
            text = "".join(str(part.get("text") or "") for part in texts)
            details: dict[str, Any] = {}
            if isinstance(item.get("encrypted_content"), str):
                detail = {"type": "reasoning.encrypted", "data": item["encrypted_content"]}
                details = {"reasoning_details": [detail | {"id": item.get("id")}]}
            return [{"reasoning_content": text, **details}]
        case "function_call" | "custom_tool_call" as kind:
            name = "function" if kind == "function_call" else "custom"
            field = "arguments" if name == "function" else "input"
            told = {"name": item.get("name"), field: item.get(field)}
            return [{"tool_calls": [{"id": item.get("call_id"), "type": name, name: told}]}]
    return []


def _said(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "refusal":
        return {"refusal": part.get("refusal")}
    return {"content": part.get("text"), "annotations": part.get("annotations")}


def _last_chunk(response: dict[str, Any], finish: str) -> Chunk:
    reason = as_dict(response.get("incomplete_details")).get("reason")
    if isinstance(reason, str):
        finish = _FINISH.get(reason, finish)
    choice = {"index": 0, "delta": {}, "finish_reason": finish}
    return {"choices": [choice], "usage": usage_to_hub(response.get("usage"))}


def _failure(told: dict[str, Any], otherwise: str) -> StreamError:
    """An error of the API, whose codes are words."""
    message, code = told.get("message"), told.get("code")
    error = StreamError(message if isinstance(message, str) and message else otherwise, told)
    error.reason = str(code) if isinstance(code, str | int) else ""
    return error
