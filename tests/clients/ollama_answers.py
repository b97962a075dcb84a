"""What upstreams of each dialect say to clients of Ollama's API, and what clients must make of it.

The model's name says what is told: `weather` (text and two calls; a text once their results are there),
`thinking`, `broken` (an error in the stream), `full` (an error before it), `endless`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.chunks import NDJSON, SSE
from tests.clients.weather import ANSWERS
from trio_router.demo import Answer, Hang, Send, json_answer, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.demo import SeenRequest

DIALECTS = ("anthropic", "ollama", "openai")
THOUGHT, SAID = "Let me think. 🤔", "Zürich: 21 °C."
VECTOR = [0.25, -0.5, 1.0]


def script(request: SeenRequest) -> Answer:
    """For an upstream's `script`."""
    dialect = dialect_of(request)
    if request.path.endswith(("/api/tags", "/models")):
        return json_answer({"models": [{"name": "listed"}], "data": [{"id": "listed"}]})
    if request.path.endswith(("/embeddings", "/embed")):
        return _vectors(request, dialect)
    if request.path.endswith("/api/show"):
        return json_answer({"capabilities": ["completion", "tools"], "model_info": {}})
    model = request.json["model"]
    if model == "full":
        return json_answer({"error": {"message": "the model is busy"}}, 429)
    if model == "weather" and not _has_results(request.json):
        return ANSWERS[dialect]()
    thought = THOUGHT if model == "thinking" else ""
    return _text(dialect, thought, is_broken=model == "broken", is_endless=model == "endless")


def dialect_of(request: SeenRequest) -> str:
    if request.path.startswith("/api/"):
        return "ollama"
    return "anthropic" if request.path.endswith("/messages") else "openai"


def _has_results(body: dict[str, Any]) -> bool:
    return any(
        message["role"] == "tool" or "tool_result" in json.dumps(message["content"])
        for message in body.get("messages", ())
    )


def _vectors(request: SeenRequest, dialect: str) -> Answer:
    texts = request.json["input"]
    count = len(texts) if isinstance(texts, list) else 1
    if dialect == "ollama":
        return json_answer({"model": "m", "embeddings": [VECTOR] * count, "prompt_eval_count": 3})
    data = [{"object": "embedding", "index": i, "embedding": VECTOR} for i in range(count)]
    return json_answer({"data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}})


def _text(dialect: str, thought: str, *, is_broken: bool, is_endless: bool) -> Answer:
    if dialect == "ollama":
        records = list(_ollama(thought))
        end = [{"error": "out of memory"}] if is_broken else records[-1:]
        steps = [*ndjson(*records[:-1]), Hang()] if is_endless else ndjson(*records[:-1], *end)
        return Answer(headers=NDJSON, steps=steps)
    if dialect == "openai":
        chunks = list(_openai(thought))
        begun = sse(*chunks[:-1], done=False)
        if is_endless:
            return Answer(headers=SSE, steps=[*begun, Hang()])
        if is_broken:
            error = sse({"error": {"message": "out of memory"}}, done=False)
            return Answer(headers=SSE, steps=[*begun, *error])
        return Answer(headers=SSE, steps=sse(*chunks))
    events = list(_anthropic(thought))
    if is_broken:
        error = {"type": "overloaded_error", "message": "out of memory"}
        events = [*events[:-3], {"type": "error", "error": error}]
    steps = [_event(event) for event in (events[:-3] if is_endless else events)]
    return Answer(headers=SSE, steps=[*steps, Hang()] if is_endless else steps)


def _event(event: dict[str, Any]) -> Send:
    return Send(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())


def _ollama(thought: str) -> Iterable[dict[str, Any]]:
    frame = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    if thought:
        message = {"role": "assistant", "content": "", "thinking": thought}
        yield {**frame, "message": message, "response": "", "thinking": thought, "done": False}
    said = {"role": "assistant", "content": SAID}
    yield {**frame, "message": said, "response": SAID, "done": False}
    last = {"role": "assistant", "content": ""}
    counts = {"prompt_eval_count": 11, "eval_count": 7}
    yield {**frame, "message": last, "response": "", "done": True, "done_reason": "stop", **counts}


def _openai(thought: str) -> Iterable[dict[str, Any]]:
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    if thought:
        delta = {"reasoning_content": thought}
        yield {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**frame, "choices": [{"index": 0, "delta": {"content": SAID}, "finish_reason": None}]}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    yield {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}


def _anthropic(thought: str) -> Iterable[dict[str, Any]]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    yield {"type": "message_start", "message": {**message, "usage": {"input_tokens": 11}}}
    blocks = [("thinking", thought)] if thought else []
    for index, (kind, text) in enumerate([*blocks, ("text", SAID)]):
        block = {"type": kind, kind: ""}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        delta = {"type": f"{kind}_delta", kind: text}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}
    yield {"type": "message_stop"}
