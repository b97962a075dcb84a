"""Answers as upstreams of each dialect stream them: thoughts, text, tool calls, and breaks."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from trio_router.demo import Answer, Hang, Send, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_router.demo import Step

Record = dict[str, Any]
_numbers = count(1)  # no two answers and no two calls have one id
_PIECES = 5  # characters at a time
_USAGE = (11, 7)  # tokens read and written
SIGNATURE = "c2lnbmVkIGJ5IHRoZSB1cHN0cmVhbQ=="


@dataclass(frozen=True)
class Say:
    """What an upstream says; `calls` are names with arguments.

    With `then` the answer stops in the middle of its text: with `error` it tells one, with `hang` it
    waits until the reader leaves.  `model` is the name that it gives itself.
    """

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    then: str = ""
    model: str = "m"


def pieces(text: str) -> Iterator[str]:
    return (text[i : i + _PIECES] for i in range(0, len(text), _PIECES))


def _openai(say: Say) -> Iterator[Record]:
    frame = {
        "id": f"c{next(_numbers)}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": say.model,
    }

    def chunk(delta: Record, finish: str | None = None) -> Record:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(say.thinking):
        yield chunk({"reasoning_content": piece})
    for piece in pieces(say.text):
        yield chunk({"content": piece})
    for index, (name, arguments) in enumerate(say.calls):
        call = {"index": index, "id": f"call_{index}{next(_numbers)}", "type": "function"}
        yield chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]})
        for piece in pieces(json.dumps(arguments)):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if say.calls else "stop")
    read, written = _USAGE
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    yield {**frame, "choices": [], "usage": usage}


def _anthropic(say: Say) -> Iterator[Record]:
    message = {
        "id": f"msg_{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": say.model,
        "content": [],
    }
    usage = {"input_tokens": _USAGE[0], "output_tokens": 1}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}
    index = 0

    def block(begin: Record, deltas: list[Record]) -> Iterator[Record]:
        nonlocal index
        yield {"type": "content_block_start", "index": index, "content_block": begin}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
        index += 1

    if say.thinking:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(say.thinking)]
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        yield from block({"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, signed])
    if say.text:
        texts = [{"type": "text_delta", "text": piece} for piece in pieces(say.text)]
        yield from block({"type": "text", "text": ""}, texts)
    for number, (name, arguments) in enumerate(say.calls):
        begin = {"type": "tool_use", "id": f"toolu_{number}{next(_numbers)}", "name": name}
        parts = [{"type": "input_json_delta", "partial_json": p} for p in pieces(json.dumps(arguments))]
        yield from block({**begin, "input": {}}, parts)
    reason = "tool_use" if say.calls else "end_turn"
    delta = {"stop_reason": reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": _USAGE[1]}}
    yield {"type": "message_stop"}


def _gemini(say: Say) -> Iterator[Record]:
    def record(*parts: Record, **more: Any) -> Record:
        candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
        return {"candidates": [candidate], "modelVersion": say.model, "responseId": "r1"}

    for piece in pieces(say.thinking):
        yield record({"text": piece, "thought": True})
    for piece in pieces(say.text):
        yield record({"text": piece})
    for name, arguments in say.calls:
        call = {"functionCall": {"name": name, "args": arguments}, "thoughtSignature": SIGNATURE}
        yield record(call)
    read, written = _USAGE
    usage = {
        "promptTokenCount": read,
        "candidatesTokenCount": written,
        "totalTokenCount": read + written,
    }
    yield {**record({"text": ""}, finishReason="STOP"), "usageMetadata": usage}


def _ollama(say: Say) -> Iterator[Record]:
    frame = {"model": say.model, "created_at": "2026-01-01T00:00:00Z"}

    def record(**message: Any) -> Record:
        told = {"role": "assistant", "content": "", **message}
        return {**frame, "message": told, "done": False}

    for piece in pieces(say.thinking):
        yield record(thinking=piece)
    for piece in pieces(say.text):
        yield record(content=piece)
    for name, arguments in say.calls:
        yield record(tool_calls=[{"function": {"name": name, "arguments": arguments}}])
    counts = {"prompt_eval_count": _USAGE[0], "eval_count": _USAGE[1]}
    yield {**record(), "done": True, "done_reason": "stop", **counts}


_ERRORS: dict[str, Record] = {
    "openai": {"error": {"message": "the upstream broke", "type": "server_error", "code": "broken"}},
    "anthropic": {"type": "error", "error": {"type": "api_error", "message": "the upstream broke"}},
    "gemini": {"error": {"code": 500, "message": "the upstream broke", "status": "INTERNAL"}},
    "ollama": {"error": "the upstream broke"},
}
_RECORDS: dict[str, Callable[[Say], Iterator[Record]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
_LAST = {"openai": 2, "anthropic": 3, "gemini": 1, "ollama": 1}  # records behind the text
DIALECTS = sorted(_RECORDS)
PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1", api_key: sk-up}
  anthropic: {base_url: "http://upstream/v1", dialect: anthropic, api_key: sk-up}
  gemini: {base_url: "http://upstream/v1beta", dialect: gemini, api_key: sk-up}
  ollama: {base_url: "http://upstream", dialect: ollama}
"""


def said(dialect: str, say: Say) -> Answer:
    """The answer of an upstream of `dialect`, streamed."""
    records = list(_RECORDS[dialect](say))
    if say.then:
        records = list(_RECORDS[dialect](replace(say, calls=())))[: -_LAST[dialect]]
    if say.then == "error":
        records.append(_ERRORS[dialect])
    steps: list[Step] = []
    if dialect == "anthropic":
        steps += [Send(f"event: {r['type']}\ndata: {json.dumps(r)}\n\n".encode()) for r in records]
    elif dialect == "ollama":
        steps += ndjson(*records)
    else:
        steps += sse(*records, done=dialect == "openai" and not say.then)
    if say.then == "hang":
        steps.append(Hang())
    kind = "application/x-ndjson" if dialect == "ollama" else "text/event-stream"
    return Answer(headers=[("content-type", kind)], steps=steps)
