"""What a model means, in the events of each dialect: written from the providers' documents alone.

Each function gives `(event name or None, JSON value)` in the order in which they are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.simulation.plan import Meaning, Style

    Event = tuple[str | None, Any]

_decode = msgspec.json.decode
CREATED = 1_900_000_000


def pieces(text: str, size: int) -> list[str]:
    if not text:
        return []
    if not size or size >= len(text):
        return [text]
    return [text[at : at + size] for at in range(0, len(text), size)]


def _usage(answer: Meaning) -> dict[str, int]:
    total = answer.prompt_tokens + answer.completion_tokens
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": total,
    }


def _deltas(answer: Meaning, style: Style) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": piece} for piece in pieces(answer.thoughts, style.piece)
    ]
    deltas += [{"content": piece} for piece in pieces(answer.text, style.piece)]
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        told = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        deltas.append({"tool_calls": [told]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in pieces(call.arguments, style.piece)
        ]
    return deltas


def openai(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    frame = {"id": f"chatcmpl-{ident}", "object": "chat.completion.chunk", "created": CREATED}
    frame["model"] = model

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    events = [chunk({"role": "assistant", "content": ""})] if style.role else []
    events += [chunk(delta) for delta in _deltas(answer, style)]
    if not style.role and events:
        events[0]["choices"][0]["delta"]["role"] = "assistant"
    events.append(chunk({}, answer.finish))
    if style.usage == "last":
        events[-1]["usage"] = _usage(answer)
    elif style.usage == "own":
        events.append({**frame, "choices": [], "usage": _usage(answer)})
    return [(None, event) for event in events]


def openai_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.thoughts:
        message["reasoning_content"] = answer.thoughts
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(answer.calls)
        ]
    elif not answer.text:
        message["content"] = ""
    choice = {"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}
    head = {"id": f"chatcmpl-{ident}", "object": "chat.completion", "created": CREATED}
    return {**head, "model": model, "choices": [choice], "usage": _usage(answer)}


def completions(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    frame = {"id": f"cmpl-{ident}", "object": "text_completion", "created": CREATED, "model": model}

    def chunk(text: str, finish: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return {**frame, "choices": [choice]}

    events = [chunk(piece, None) for piece in pieces(answer.text, style.piece)]
    events.append(chunk("", answer.finish))
    if style.usage != "none":
        events.append({**frame, "choices": [], "usage": _usage(answer)})
    return [(None, event) for event in events]


def completions_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    choice = {"index": 0, "text": answer.text, "finish_reason": answer.finish, "logprobs": None}
    head = {"id": f"cmpl-{ident}", "object": "text_completion", "created": CREATED, "model": model}
    return {**head, "choices": [choice], "usage": _usage(answer)}


_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _stop_reason(answer: Meaning) -> str:
    return _STOP.get(answer.finish, "refusal")


def anthropic(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    message: dict[str, Any] = {"id": f"msg_{ident}", "type": "message", "role": "assistant"}
    message["model"] = model
    usage = {"input_tokens": answer.prompt_tokens, "output_tokens": 1}
    start: dict[str, Any] = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    if style.comments:
        events.append({"type": "ping"})
    for index, (block, kind, name, text) in enumerate(_blocks(answer)):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: piece}}
            for piece in pieces(text, style.piece)
        ]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    counted = {"output_tokens": answer.completion_tokens}
    events.append({"type": "message_delta", "delta": delta, "usage": counted})
    events.append({"type": "message_stop"})
    return [(event["type"], event) for event in events]


def _blocks(answer: Meaning) -> list[tuple[dict[str, Any], str, str, str]]:
    blocks: list[tuple[dict[str, Any], str, str, str]] = []
    if answer.thoughts:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        blocks.append((block, "thinking_delta", "thinking", answer.thoughts))
    if answer.text:
        blocks.append(({"type": "text", "text": ""}, "text_delta", "text", answer.text))
    for index, call in enumerate(answer.calls):
        used: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{index}", "name": call.name}
        used["input"] = {}
        blocks.append((used, "input_json_delta", "partial_json", call.arguments))
    return blocks


def anthropic_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for block, _, name, text in _blocks(answer):
        told = _decode(text) if name == "partial_json" else text
        content.append({**block, "input" if name == "partial_json" else name: told})
    usage = {"input_tokens": answer.prompt_tokens, "output_tokens": answer.completion_tokens}
    head = {"id": f"msg_{ident}", "type": "message", "role": "assistant", "model": model}
    end = {"stop_reason": _stop_reason(answer), "stop_sequence": None, "usage": usage}
    return {**head, "content": content, **end}


_GEMINI = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}


def gemini(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    parts: list[dict[str, Any]] = [
        {"text": piece, "thought": True} for piece in pieces(answer.thoughts, style.piece)
    ]
    parts += [{"text": piece} for piece in pieces(answer.text, style.piece)]
    parts += [
        {"functionCall": {"name": call.name, "args": _decode(call.arguments)}} for call in answer.calls
    ]
    frame = {"modelVersion": model, "responseId": f"g-{ident}"}
    events: list[dict[str, Any]] = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **frame}
        for part in parts
    ]
    nothing: dict[str, Any] = {"content": {"role": "model", "parts": []}, "index": 0}
    last: dict[str, Any] = {"candidates": [nothing], **frame}
    if style.usage == "last" and events:
        last = events[-1]
    else:
        events.append(last)
    last["candidates"][0]["finishReason"] = _GEMINI[answer.finish]
    last["usageMetadata"] = _gemini_usage(answer)
    return [(None, event) for event in events]


def _gemini_usage(answer: Meaning) -> dict[str, int]:
    return {
        "promptTokenCount": answer.prompt_tokens,
        "candidatesTokenCount": answer.completion_tokens,
        "totalTokenCount": answer.prompt_tokens + answer.completion_tokens,
    }


def gemini_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if answer.thoughts:
        parts.append({"text": answer.thoughts, "thought": True})
    if answer.text:
        parts.append({"text": answer.text})
    parts += [
        {"functionCall": {"name": call.name, "args": _decode(call.arguments)}} for call in answer.calls
    ]
    content = {"role": "model", "parts": parts}
    candidate = {"content": content, "finishReason": _GEMINI[answer.finish], "index": 0}
    end = {"usageMetadata": _gemini_usage(answer), "modelVersion": model, "responseId": f"g-{ident}"}
    return {"candidates": [candidate], **end}


_COHERE = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
}


def cohere(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    def event(kind: str, message: Any, index: int | None = None) -> dict[str, Any]:
        told: dict[str, Any] = {"type": kind, "delta": {"message": message}}
        return told if index is None else {**told, "index": index}

    begin: dict[str, Any] = {
        "role": "assistant",
        "content": [],
        "tool_plan": "",
        "tool_calls": [],
        "citations": [],
    }
    events: list[dict[str, Any]] = [{"id": ident, **event("message-start", begin)}]
    events += [
        event("tool-plan-delta", {"tool_plan": piece}) for piece in pieces(answer.thoughts, style.piece)
    ]
    if answer.text:
        block = {"type": "text", "text": ""}
        events.append(event("content-start", {"content": block}, 0))
        events += [
            event("content-delta", {"content": {"text": piece}}, 0)
            for piece in pieces(answer.text, style.piece)
        ]
        events.append({"type": "content-end", "index": 0})
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        told = {"id": f"{call.name}_{index}", "type": "function", "function": function}
        events.append(event("tool-call-start", {"tool_calls": told}, index))
        events += [
            event("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index)
            for piece in pieces(call.arguments, style.piece)
        ]
        events.append({"type": "tool-call-end", "index": index})
    end = {"finish_reason": _COHERE[answer.finish], "usage": _cohere_usage(answer)}
    events.append({"type": "message-end", "delta": end})
    return [(event["type"], event) for event in events]


def _cohere_usage(answer: Meaning) -> dict[str, Any]:
    tokens = {"input_tokens": answer.prompt_tokens, "output_tokens": answer.completion_tokens}
    return {"billed_units": tokens, "tokens": tokens}


def cohere_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if answer.thoughts:
        message["tool_plan"] = answer.thoughts
    if answer.text:
        message["content"] = [{"type": "text", "text": answer.text}]
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"{call.name}_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(answer.calls)
        ]
    usage = _cohere_usage(answer)
    return {"id": ident, "message": message, "finish_reason": _COHERE[answer.finish], "usage": usage}


def ollama(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    frame = {"model": model, "created_at": "2030-03-17T17:46:40Z"}

    def record(**message: Any) -> dict[str, Any]:
        return {**frame, "message": {"role": "assistant", **message}, "done": False}

    events = [record(content="", thinking=piece) for piece in pieces(answer.thoughts, style.piece)]
    events += [record(content=piece) for piece in pieces(answer.text, style.piece)]
    events += [
        record(content="", tool_calls=[{"function": _ollama_call(call.name, call.arguments)}])
        for call in answer.calls
    ]
    events.append({**record(content=""), **_ollama_end(answer)})
    return [(None, event) for event in events]


def _ollama_call(name: str, arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": _decode(arguments)}


def _ollama_end(answer: Meaning) -> dict[str, Any]:
    reason = "length" if answer.finish == "length" else "stop"
    counts = {"prompt_eval_count": answer.prompt_tokens, "eval_count": answer.completion_tokens}
    return {"done": True, "done_reason": reason, "total_duration": 1, **counts}


def ollama_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.thoughts:
        message["thinking"] = answer.thoughts
    if answer.calls:
        message["tool_calls"] = [
            {"function": _ollama_call(call.name, call.arguments)} for call in answer.calls
        ]
    frame = {"model": model, "created_at": "2030-03-17T17:46:40Z", "message": message}
    return {**frame, **_ollama_end(answer)}


STREAMS: dict[str, Callable[[Meaning, Style, str, str], list[Event]]] = {
    "openai": openai,
    "completions": completions,
    "anthropic": anthropic,
    "gemini": gemini,
    "cohere": cohere,
    "ollama": ollama,
}
WHOLES: dict[str, Callable[[Meaning, str, str], dict[str, Any]]] = {
    "openai": openai_whole,
    "completions": completions_whole,
    "anthropic": anthropic_whole,
    "gemini": gemini_whole,
    "cohere": cohere_whole,
    "ollama": ollama_whole,
}
