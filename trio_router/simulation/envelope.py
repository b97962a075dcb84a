"""Events -> the lines of a stream: server-sent events, NDJSON, a JSON array; and error bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.simulation.speech import STREAMS, WHOLES
from trio_router.simulation.speech_responses import responses, responses_whole

if TYPE_CHECKING:
    from trio_router.simulation.plan import Meaning, Style, Take
    from trio_router.simulation.speech import Event

STREAMS["responses"] = responses
WHOLES["responses"] = responses_whole
_encode = msgspec.json.encode
_KINDS = {
    "sse": b"text/event-stream",
    "ndjson": b"application/x-ndjson",
    "json": b"application/json",
}
_TORN = b"\xef\xbf\xbd"  # U+FFFD, which stands in texts where a byte that is no UTF-8 is sent


@dataclass(slots=True)
class AnswerBytes:
    """One answer in bytes.  `lines` are its events; `ends_at` is the number of the one that says the
    finish, which is the last one that counts."""

    kind: bytes
    lines: list[bytes]
    events: list[bytes]  # the JSON of each line, b"" where a line has none
    ends_at: int
    replaced: int = 0  # bytes that are no UTF-8


def script(
    take: Take, speech: str, ident: str, model: str, *, is_stream: bool, choices: int = 1
) -> AnswerBytes:
    """An answer in bytes; `choices` of 2 is for OpenAI's speech."""
    style, answer = take.style, take.answer
    if not is_stream or style.as_json:
        whole = WHOLES[speech](answer, ident, model)
        body, count = _torn(_encode(whole if choices == 1 else _doubled(whole)), style)
        return AnswerBytes(_KINDS["json"], [body], [body], 0, count)
    told = STREAMS[speech](answer, style, ident, model)
    if choices == 2:
        told = [each for event in told for each in _two(event)]
    events = [(name, _encode(value)) for name, value in told]
    ends_at = _finish_place(speech, [value for _, value in told])
    if speech == "ollama":
        lines = [event + b"\n" for _, event in events]
        kind = _KINDS["ndjson"]
    elif speech == "gemini" and style.as_array:
        lines = [b"[" + event if n == 0 else b",\r\n" + event for n, (_, event) in enumerate(events)]
        lines[-1] += b"]"
        kind = _KINDS["json"]
    else:
        lines = _server_sent(events, style)
        kind = _KINDS["sse"]
    return _finished(AnswerBytes(kind, lines, [e for _, e in events], ends_at), speech, style)


def _two(event: Event) -> list[Event]:
    """An event of the first choice, and the same of a second one."""
    name, value = event
    return [event, (name, _numbered(value))] if value["choices"] else [event]


def _numbered(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "choices": [{**choice, "index": 1} for choice in value["choices"]]}


def _doubled(whole: dict[str, Any]) -> dict[str, Any]:
    return {**whole, "choices": [*whole["choices"], *_numbered(whole)["choices"]]}


def _finished(made: AnswerBytes, speech: str, style: Style) -> AnswerBytes:
    """With what is no event of the answer: comments, `[DONE]`, torn bytes."""
    if made.kind == _KINDS["sse"]:
        end = style.newline.encode()
        if speech in ("openai", "completions") and style.done:
            made.lines.append(b"data: [DONE]" + end + end)
            made.events.append(b"")
        if style.comments:
            made.lines[0] = b": PROCESSING" + end + end + made.lines[0]
        if style.bom:
            made.lines[0] = b"\xef\xbb\xbf" + made.lines[0]
    if style.broken_utf8:
        for place, line in enumerate(made.lines):
            made.lines[place], count = _torn(line, style)
            made.replaced += count
    return made


def _torn(line: bytes, style: Style) -> tuple[bytes, int]:
    if not style.broken_utf8:
        return line, 0
    return line.replace(_TORN, b"\xff"), line.count(_TORN)


def _server_sent(events: list[tuple[str | None, bytes]], style: Style) -> list[bytes]:
    end = style.newline.encode()
    prefix = b"data: " if style.space else b"data:"
    lines = []
    for name, event in events:
        line = prefix + event + end + end
        lines.append(line if name is None else b"event: " + name.encode() + end + line)
    return lines


def _finish_place(speech: str, events: list[Any]) -> int:
    if speech in ("openai", "completions"):
        return max(n for n, event in enumerate(events) if event["choices"])
    return len(events) - 2 if speech == "anthropic" else len(events) - 1


def error_body(dialect: str, status: int, message: str, code: str) -> bytes:
    """The body of an error answer, as this provider writes it."""
    match dialect:
        case "anthropic":
            return _encode({"type": "error", "error": {"type": code, "message": message}})
        case "gemini":
            return _encode({"error": {"code": status, "message": message, "status": code}})
        case "cohere":
            return _encode({"message": message})
        case "ollama":
            return _encode({"error": message})
    return _encode({"error": {"message": message, "type": "error", "code": code, "param": None}})


def error_event(speech: str, message: str, style: Style) -> bytes:
    """An error in the middle of a stream."""
    end = style.newline.encode()
    told: dict[str, Any]
    match speech:
        case "anthropic":
            told = {"type": "error", "error": {"type": "overloaded_error", "message": message}}
            return b"event: error" + end + b"data: " + _encode(told) + end + end
        case "responses":
            told = {"type": "error", "code": "server_error", "message": message, "param": None}
            return b"event: error" + end + b"data: " + _encode(told) + end + end
        case "cohere":
            told = {
                "type": "message-end",
                "delta": {"finish_reason": "ERROR", "error": message},
            }
            return b"event: message-end" + end + b"data: " + _encode(told) + end + end
        case "ollama":
            return _encode({"error": message}) + b"\n"
        case "gemini":
            told = {"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}}
            return b"data: " + _encode(told) + end + end
    failed = {"error": {"message": message, "type": "server_error", "code": "server_error"}}
    return b"data: " + _encode(failed) + end + end


def vectors(dialect: str, answer: Meaning, ident: int, model: str) -> bytes:
    """Embeddings of one text: its vector tells whose it is."""
    vector, count = [float(ident), 0.5, -0.25], answer.prompt_tokens
    match dialect:
        case "ollama":
            return _encode({"model": model, "embeddings": [vector], "prompt_eval_count": count})
        case "gemini":
            return _encode({"embeddings": [{"values": vector}]})
        case "cohere":
            meta = {"billed_units": {"input_tokens": count}}
            return _encode({"id": "e", "embeddings": {"float": [vector]}, "texts": [""], "meta": meta})
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return _encode({"object": "list", "data": data, "model": model, "usage": usage})
