"""Scripted upstreams of each dialect, for agents: a turn is a text, or a call of one tool.

Which turn it is follows from the results of tools that the conversation holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_router.demo import Answer, Hang, Send, error_answer, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_router.demo import SeenRequest

_SSE = [("content-type", "text/event-stream")]
PICTURE = (  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_PIECE = 9  # characters at a time
DIALECTS = ("openai", "responses", "anthropic", "gemini", "ollama")
PROVIDERS = """
providers:
  openai: {{base_url: "{url}/v1"}}
  responses: {{base_url: "{url}/native", responses: true}}
  anthropic: {{base_url: "{url}/v1", dialect: anthropic, api_key: sk-ant-x}}
  gemini: {{base_url: "{url}/v1beta", dialect: gemini, api_key: g-x}}
  ollama: {{base_url: "{url}", dialect: ollama}}
"""


@dataclass(frozen=True)
class Call:
    """A call of a tool; a tool whose input is free text gets `text`."""

    name: str
    arguments: dict[str, Any] | None = None
    text: str | None = None

    @property
    def json(self) -> str:
        return json.dumps({"input": self.text} if self.arguments is None else self.arguments)


@dataclass(frozen=True)
class Fail:
    status: int


@dataclass(frozen=True)
class Stay:
    """Begins to speak, and then says nothing more."""

    text: str = "Let me think about "


@dataclass(frozen=True)
class Break:
    """Begins to speak, and then tells an error."""

    text: str = "Let me think about "


Turn = str | Call | Fail | Stay | Break


def script(turns: Sequence[Turn], otherwise: Turn = "A title") -> Callable[[SeenRequest], Answer]:
    """For an upstream's `script`.  Requests without tools (titles, summaries) get `otherwise`."""

    def answer(request: SeenRequest) -> Answer:
        dialect = dialect_of(request.path)
        body = request.json
        if not has_tools(body):
            return spoken(dialect, otherwise, body)
        return spoken(dialect, turns[min(results(body), len(turns) - 1)], body)

    return answer


def dialect_of(path: str) -> str:
    if path.startswith("/native/responses"):
        return "responses"
    if path.startswith("/v1beta"):
        return "gemini"
    return {"/v1/messages": "anthropic", "/api/chat": "ollama"}.get(path.partition("?")[0], "openai")


def has_tools(body: dict[str, Any]) -> bool:
    brought = body["input"] if isinstance(body.get("input"), list) else []
    return bool(body.get("tools")) or any(i.get("type") == "additional_tools" for i in brought)


def results(body: dict[str, Any]) -> int:
    """How many results of tools the conversation holds."""
    if "input" in body:
        return sum(str(item.get("type")).endswith("_output") for item in body["input"])
    if "contents" in body:
        return sum("functionResponse" in p for c in body["contents"] for p in c["parts"])
    count = 0
    for message in body["messages"]:
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        count += message["role"] == "tool" or any(p.get("type") == "tool_result" for p in parts)
    return count


def spoken(dialect: str, turn: Turn, body: dict[str, Any]) -> Answer:
    if isinstance(turn, Fail):
        return error_answer(turn.status, "the upstream has no more of it", "scripted")
    if isinstance(turn, Stay | Break):
        made = _SPEAKERS[dialect](turn.text, {**body, "stream": True})
        end = Hang() if isinstance(turn, Stay) else _BROKEN[dialect]
        return Answer(headers=made.headers, steps=[*made.steps[: len(made.steps) // 2], end])
    return _SPEAKERS[dialect](turn, body)


def _pieces(text: str) -> list[str]:
    return [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]


def _named(events: list[dict[str, Any]]) -> Answer:
    texts = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events]
    return Answer(headers=_SSE, steps=[Send(text.encode()) for text in texts])


def _openai(said: str | Call, body: dict[str, Any]) -> Answer:
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    last = {**frame, "choices": [], "usage": usage}
    if not body.get("stream"):
        assert isinstance(said, str)
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = {**frame, "object": "chat.completion", "choices": [choice], "usage": usage}
        return Answer(headers=[("content-type", "application/json")], steps=[Send(dumps(whole))])
    if isinstance(said, str):
        deltas = [chunk({"content": piece}) for piece in _pieces(said)]
        return Answer(headers=_SSE, steps=sse(*deltas, chunk({}, "stop"), last))
    call = {"index": 0, "id": "call_1", "type": "function"}
    first = chunk({"tool_calls": [{**call, "function": {"name": said.name, "arguments": ""}}]})
    rest = [
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        for piece in _pieces(said.json)
    ]
    return Answer(headers=_SSE, steps=sse(first, *rest, chunk({}, "tool_calls"), last))


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def _anthropic(said: str | Call, body: dict[str, Any]) -> Answer:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 11, "output_tokens": 1}
    opening = {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}
    if isinstance(said, str):
        block: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(said)]
    else:
        block = {"type": "tool_use", "id": "toolu_1", "name": said.name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": p} for p in _pieces(said.json)]
    reason = "end_turn" if isinstance(said, str) else "tool_use"
    return _named(
        [
            opening,
            {"type": "content_block_start", "index": 0, "content_block": block},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": 7},
            },
            {"type": "message_stop"},
        ]
    )


def _gemini(said: str | Call, body: dict[str, Any]) -> Answer:
    if isinstance(said, str):
        parts: list[dict[str, Any]] = [{"text": piece} for piece in _pieces(said)]
    else:
        parts = [{"functionCall": {"name": said.name, "args": json.loads(said.json)}}]
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
    events: list[dict[str, Any]] = [
        {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]} for part in parts
    ]
    events[-1]["candidates"][0]["finishReason"] = "STOP"
    events[-1]["usageMetadata"] = usage
    return Answer(headers=_SSE, steps=[Send(b"data: " + dumps(e) + b"\n\n") for e in events])


def _ollama(said: str | Call, body: dict[str, Any]) -> Answer:
    frame = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "done": False}
    if isinstance(said, str):
        messages: list[dict[str, Any]] = [{"content": piece} for piece in _pieces(said)]
    else:
        function = {"name": said.name, "arguments": json.loads(said.json)}
        messages = [{"content": "", "tool_calls": [{"function": function}]}]
    records = [{**frame, "message": {"role": "assistant", **message}} for message in messages]
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 7}
    last = {**frame, "message": {"role": "assistant", "content": ""}, **end}
    kind = [("content-type", "application/x-ndjson")]
    return Answer(headers=kind, steps=ndjson(*records, last))


def _responses(said: str | Call, body: dict[str, Any]) -> Answer:
    item: dict[str, Any] = {"id": "item_1", "status": "completed"}
    deltas: list[dict[str, Any]] = []
    if isinstance(said, str):
        part = {"type": "output_text", "text": said, "annotations": []}
        item |= {"type": "message", "role": "assistant", "content": [part]}
        place = {"item_id": "item_1", "output_index": 0, "content_index": 0}
        kind = "response.output_text.delta"
        deltas = [{"type": kind, "delta": piece, **place} for piece in _pieces(said)]
    elif said.arguments is None:
        item |= {"type": "custom_tool_call", "call_id": "call_1", "name": said.name, "input": said.text}
    else:
        call = {"call_id": "call_1", "name": said.name, "arguments": said.json}
        item |= {"type": "function_call", **call}
    response: dict[str, Any] = {"id": f"resp_{results(body)}", "object": "response", "model": "m"}
    usage = {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 18,
    }
    done = {**response, "status": "completed", "output": [item], "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        *deltas,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    return _named([{**event, "sequence_number": i} for i, event in enumerate(events)])


_SAD = "the upstream broke in the middle"
_FAULT = {"type": "server_error", "code": "server_error", "message": _SAD, "param": None}
_BROKEN: dict[str, Send] = {
    "openai": sse({"error": _FAULT}, done=False)[0],
    "responses": _named([{**_FAULT, "type": "error", "sequence_number": 9}]).steps[0],
    "anthropic": _named([{"type": "error", "error": {"type": "api_error", "message": _SAD}}]).steps[0],
    "gemini": sse({"error": {"code": 500, "message": _SAD, "status": "INTERNAL"}}, done=False)[0],
    "ollama": ndjson({"error": _SAD})[0],
}
_SPEAKERS: dict[str, Callable[[str | Call, dict[str, Any]], Answer]] = {
    "openai": _openai,
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
