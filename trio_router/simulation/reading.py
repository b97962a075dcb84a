"""What a client was told, read from the bytes that it got, in each API: no code of the product's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_decode = msgspec.json.decode


@dataclass(slots=True)
class Said:
    """An answer as its client understands it."""

    text: str = ""
    thoughts: str = ""
    calls: list[list[str]] = field(default_factory=list)  # [name, arguments]
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    is_good: bool = False  # it ended as a good answer does
    error: dict[str, Any] | None = None
    ends: int = 0  # terminal frames
    faults: list[str] = field(default_factory=list)  # what breaks the API's own rules
    events: list[bytes] = field(default_factory=list)  # the data of all events, as it came
    comments: int = 0
    others: dict[int, Said] = field(default_factory=dict)  # further choices, by index


def events_of(body: bytes, said: Said, *, is_whole: bool) -> list[tuple[str, bytes]]:
    """The events of a stream: (name, data).  One that is torn is a fault, if the stream is whole."""
    found = []
    blocks = body.replace(b"\r\n", b"\n").split(b"\n\n")
    if blocks[-1] and is_whole:
        said.faults.append(f"the stream ends within an event: {blocks[-1][-60:]!r}")
    for block in blocks[:-1]:
        name, data = "", []
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b":"):
                said.comments += 1
            elif line and not line.startswith((b"id:", b"retry:")):
                said.faults.append(f"no line of an event: {line[:60]!r}")
        if data:
            found.append((name, b"\n".join(data)))
    return found


def _json(data: bytes, said: Said) -> dict[str, Any]:
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said.faults.append(f"an event is no JSON: {data[:80]!r}")
        return {}
    return value if isinstance(value, dict) else {}


def _end(said: Said, data: bytes) -> None:
    said.ends += 1
    if said.ends > 1:
        said.faults.append(f"something after the end: {data[:80]!r}")


def read_stream(api: str, body: bytes, *, is_whole: bool) -> Said:
    said = Said()
    reader = _STREAMS[api](said)
    for name, data in events_of(body, said, is_whole=is_whole):
        said.events.append(data)
        if data == b"[DONE]":
            if api not in ("chat", "completions"):
                said.faults.append("[DONE] where the API has none")
            _end(said, data)
            said.is_good = said.error is None
            continue
        if said.ends:
            said.faults.append(f"an event after the end: {data[:80]!r}")
        try:
            reader(name, _json(data, said))
        except (KeyError, IndexError, TypeError, AttributeError):
            said.faults.append(f"no event of this API: {data[:120]!r}")
    return said


class _Chat:
    def __init__(self, said: Said) -> None:
        self.said = said

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        said = self.said
        if event.get("error"):
            said.error = event["error"]
            _end(said, b"error")
            return
        usage = event.get("usage")
        if usage:
            said.prompt_tokens = usage["prompt_tokens"]
            said.completion_tokens = usage["completion_tokens"]
        for choice in event.get("choices") or ():
            self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> None:
        said, delta = self.said, choice.get("delta") or {}
        if number := choice.get("index", 0):
            said = said.others.setdefault(number, Said())
        said.text += delta.get("content") or choice.get("text") or ""
        said.thoughts += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            index = call.get("index", 0)
            if index == len(said.calls):
                said.calls.append([function.get("name") or "", ""])
            elif index > len(said.calls):
                said.faults.append(f"tool call {index} before the one before it")
                continue
            said.calls[index][1] += function.get("arguments") or ""
        said.finish = choice.get("finish_reason") or said.finish


class _Messages:
    def __init__(self, said: Said) -> None:
        self.said = said
        self.open: dict[int, str] = {}
        self.count = 0
        self.has_begun = False

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        said, kind = self.said, event.get("type")
        if name != kind:
            said.faults.append(f"event {name} with type {kind}")
        if kind not in ("message_start", "error", "ping") and not self.has_begun:
            said.faults.append(f"{kind} before message_start")
        match kind:
            case "message_start":
                self.has_begun = True
                said.prompt_tokens = event["message"]["usage"].get("input_tokens")
            case "content_block_start":
                self._start(event)
            case "content_block_delta":
                self._delta(event)
            case "content_block_stop":
                if self.open.pop(event["index"], None) is None:
                    said.faults.append("a block is stopped that is not open")
            case "message_delta":
                said.finish = event["delta"].get("stop_reason") or said.finish
                usage = event.get("usage") or {}
                said.completion_tokens = usage.get("output_tokens", said.completion_tokens)
                said.prompt_tokens = usage.get("input_tokens", said.prompt_tokens)
            case "message_stop":
                if self.open:
                    said.faults.append("the message stops with a block open")
                said.is_good = True
                _end(said, b"message_stop")
            case "error":
                said.error = event["error"]
                _end(said, b"error")

    def _start(self, event: dict[str, Any]) -> None:
        said, block = self.said, event["content_block"]
        if event["index"] != self.count:
            said.faults.append(f"block {event['index']} where {self.count} should be")
        self.count += 1
        self.open[event["index"]] = block["type"]
        if block["type"] == "tool_use":
            said.calls.append([block["name"], ""])
        said.text += block.get("text") or ""
        said.thoughts += block.get("thinking") or ""

    def _delta(self, event: dict[str, Any]) -> None:
        said, delta = self.said, event["delta"]
        if event["index"] not in self.open:
            said.faults.append("a delta of a block that is not open")
        said.text += delta.get("text") or ""
        said.thoughts += delta.get("thinking") or ""
        if "partial_json" in delta:
            said.calls[-1][1] += delta["partial_json"]


class _Responses:
    def __init__(self, said: Said) -> None:
        self.said = said
        self.number = 0

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        said, kind = self.said, event.get("type")
        if name != kind:
            said.faults.append(f"event {name} with type {kind}")
        number = event.get("sequence_number")
        if number is not None:
            if number != self.number:
                said.faults.append(f"event number {number} where {self.number} should be")
            self.number += 1
        match kind:
            case "response.output_text.delta":
                said.text += event["delta"]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                said.thoughts += event["delta"]
            case "response.output_item.added":
                if event["item"]["type"] == "function_call":
                    said.calls.append([event["item"]["name"], ""])
            case "response.function_call_arguments.delta":
                said.calls[-1][1] += event["delta"]
            case "response.completed" | "response.incomplete":
                self._last(kind, event["response"])
            case "response.failed":
                said.error = said.error or event["response"].get("error") or {}
                _end(said, b"failed")
            case "error":
                said.error = event

    def _last(self, kind: str, response: dict[str, Any]) -> None:
        said = self.said
        _end(said, kind.encode())
        said.is_good = said.error is None
        whole = read_whole("responses", response)
        if (whole.text, whole.calls) != (said.text, said.calls):
            said.faults.append("the last response is not what its events said")
        said.finish = whole.finish
        said.prompt_tokens, said.completion_tokens = whole.prompt_tokens, whole.completion_tokens


_STREAMS: dict[str, Callable[[Said], Callable[[str, dict[str, Any]], None]]] = {
    "chat": _Chat,
    "completions": _Chat,
    "messages": _Messages,
    "responses": _Responses,
}


def read_whole(api: str, value: dict[str, Any]) -> Said:
    """An answer without streaming."""
    said = Said()
    if value.get("error"):
        said.error = value["error"]
        return said
    said.is_good = True
    try:
        _WHOLES[api](said, value)
    except (KeyError, IndexError, TypeError, AttributeError):
        said.is_good = False
        said.faults.append(f"no answer of this API: {str(value)[:120]}")
    return said


def _chat_whole(said: Said, value: dict[str, Any]) -> None:
    for number, other in enumerate(value["choices"][1:], 1):
        said.others[number] = Said()
        _one_choice(said.others[number], other)
    _one_choice(said, value["choices"][0])
    _count(said, value, "prompt_tokens", "completion_tokens")


def _one_choice(said: Said, choice: dict[str, Any]) -> None:
    message = choice.get("message") or {}
    said.text = message.get("content") or choice.get("text") or ""
    said.thoughts = message.get("reasoning_content") or ""
    said.calls = [
        [call["function"]["name"], call["function"]["arguments"]]
        for call in message.get("tool_calls") or ()
    ]
    said.finish = choice["finish_reason"]


def _message_whole(said: Said, value: dict[str, Any]) -> None:
    for block in value["content"]:
        said.text += block.get("text") or ""
        said.thoughts += block.get("thinking") or ""
        if block["type"] == "tool_use":
            said.calls.append([block["name"], msgspec.json.encode(block["input"]).decode()])
    said.finish = value["stop_reason"]
    _count(said, value, "input_tokens", "output_tokens")


def _response_whole(said: Said, value: dict[str, Any]) -> None:
    for item in value["output"]:
        if item["type"] == "function_call":
            said.calls.append([item["name"], item["arguments"]])
        for part in item.get("content") or ():
            if item["type"] == "reasoning":
                said.thoughts += part.get("text") or ""
            else:
                said.text += part.get("text") or ""
    said.finish = value["status"]
    _count(said, value, "input_tokens", "output_tokens")


def _vectors(said: Said, value: dict[str, Any]) -> None:
    said.text = str([entry["embedding"] for entry in value["data"]])
    usage = value.get("usage") or {}
    said.prompt_tokens = usage.get("prompt_tokens")


def _count(said: Said, value: dict[str, Any], prompt: str, completion: str) -> None:
    usage = value.get("usage") or {}
    said.prompt_tokens, said.completion_tokens = usage.get(prompt), usage.get(completion)


_WHOLES: dict[str, Callable[[Said, dict[str, Any]], None]] = {
    "chat": _chat_whole,
    "completions": _chat_whole,
    "messages": _message_whole,
    "responses": _response_whole,
    "embeddings": _vectors,
}
