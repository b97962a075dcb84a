"""One answer, with a sentence and two parallel tool calls, as upstreams of each dialect say it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from trio_router.demo import Answer, Send, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.demo import Request

TEXT = "Schauen wir nach: 東京 und Zürich 👋🏽."
CALLS = [("weather", {"city": "東京", "days": 2}), ("weather", {"city": "Zürich", "days": 1})]
QUESTION = "Wie wird das Wetter?"
_SSE = [("content-type", "text/event-stream")]
_PIECES = 7  # characters of arguments at a time


class weather(BaseModel):
    """The weather of the coming days."""

    city: str
    days: int


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of the coming days.",
        "parameters": weather.model_json_schema(),
    },
}
PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1"}
  anthropic: {base_url: "http://upstream/v1", dialect: anthropic, api_key: sk-ant}
  ollama: {base_url: "http://upstream", dialect: ollama}
"""


def pieces(text: str) -> Iterable[str]:
    return (text[i : i + _PIECES] for i in range(0, len(text), _PIECES))


def openai_events() -> Iterable[dict[str, Any]]:
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(TEXT):
        yield chunk({"content": piece})
    for index, (name, arguments) in enumerate(CALLS):
        call = {"index": index, "id": f"call_{index}", "type": "function"}
        yield chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]})
        for piece in pieces(json.dumps(arguments)):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls")
    yield {
        **frame,
        "choices": [],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def anthropic_events() -> Iterable[dict[str, Any]]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 11, "output_tokens": 1}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "ping"}
    for piece in pieces(TEXT):
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    for index, (name, arguments) in enumerate(CALLS, 1):
        block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for piece in pieces(json.dumps(arguments)):
            delta = {"type": "input_json_delta", "partial_json": piece}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    }
    yield {"type": "message_stop"}


def ollama_records() -> Iterable[dict[str, Any]]:
    frame = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    for piece in pieces(TEXT):
        yield {**frame, "message": {"role": "assistant", "content": piece}, "done": False}
    calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in CALLS]
    message = {"role": "assistant", "content": "", "tool_calls": calls}
    yield {**frame, "message": message, "done": False}
    counts = {"prompt_eval_count": 11, "eval_count": 7}
    last = {"role": "assistant", "content": ""}
    yield {**frame, "message": last, "done": True, "done_reason": "stop", **counts}


def _named(events: Iterable[dict[str, Any]]) -> list[Send]:
    text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return [Send(text.encode())]


ANSWERS = {
    "openai": lambda: Answer(headers=_SSE, steps=sse(*openai_events())),
    "anthropic": lambda: Answer(headers=_SSE, steps=_named(anthropic_events())),
    "ollama": lambda: Answer(
        headers=[("content-type", "application/x-ndjson")], steps=ndjson(*ollama_records())
    ),
}


def script(request: Request) -> Answer:
    """For an upstream's `script`: the model's name is the dialect's."""
    return ANSWERS[request.json["model"]]()
