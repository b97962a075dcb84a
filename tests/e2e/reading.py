"""A reading of streams and answers that shares nothing with the router's code.

It is simple on purpose: the whole body is split on empty lines, what follows `data:` is JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

DONE = b"[DONE]"


def split_sse(body: bytes) -> list[tuple[bytes, bytes]]:
    """(event name, data) of each event that has data; an event without its empty line counts."""
    lines = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = []
    for block in re.split(rb"\n{2,}", lines):
        name, data = b"", []
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                name = line[6:].removeprefix(b" ")
        if data:
            found.append((name, b"\n".join(data)))
    return found


@dataclass
class Said:
    """What an answer says: text, reasoning, tool calls and finish reasons of each choice, and usage."""

    text: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, str] = field(default_factory=dict)
    refusal: dict[int, str] = field(default_factory=dict)
    calls: dict[tuple[int, Any], dict[str, str]] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or ():
            self._message(choice, choice.get("delta") or {})

    def _message(self, choice: dict[str, Any], message: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        _join(self.text, index, message.get("content"))
        _join(self.reasoning, index, message.get("reasoning_content") or message.get("reasoning"))
        _join(self.refusal, index, message.get("refusal"))
        for place, call in enumerate(message.get("tool_calls") or ()):
            held = self.calls.setdefault((index, call.get("index", place)), {})
            function = call.get("function") or {}
            if call.get("id"):
                held["id"] = call["id"]
            for name in ("name", "arguments"):
                held[name] = held.get(name, "") + (function.get(name) or "")
        if choice.get("finish_reason"):
            self.finish[index] = choice["finish_reason"]


def _join(texts: dict[int, str], index: int, text: Any) -> None:
    """Text, text in parts (Mistral's reasoning), or a value (Cloudflare's structured answers)."""
    if isinstance(text, dict):
        text = json.dumps(text, ensure_ascii=False, separators=(",", ":"))
    if isinstance(text, list):
        text = "".join(p.get("text") or "" for p in text if isinstance(p, dict))
    if text:
        texts[index] = texts.get(index, "") + text


@dataclass
class Stream:
    """A stream of chunks: their JSON texts, what they say, and how it ended."""

    texts: list[bytes]
    said: Said
    done: int = 0  # how often [DONE] was said
    error: dict[str, Any] | None = None  # the error it ended in; `failed` if it did not even say one
    failed: bool = False


def read_stream(body: bytes) -> Stream:
    """A stream in OpenAI's shape, the router's or an upstream's, up to its end or its first fault."""
    stream = Stream([], Said())
    for name, data in split_sse(body):
        if data.strip() == DONE:
            stream.done += 1
            continue
        try:
            value = json.loads(data)
        except ValueError:
            stream.failed = True
            break
        if name == b"error" or value.get("error"):
            stream.error = value.get("error", value)
            stream.failed = True
            break
        stream.texts.append(data)
        stream.said.add(value)
    return stream


def read_ollama(body: bytes) -> Said:
    """What Ollama's records say, or its one record; as OpenAI would name it."""
    said = Said()
    for line in filter(bytes.strip, body.split(b"\n")):
        record = json.loads(line)
        message = record.get("message") or {"content": record.get("response")}
        _join(said.text, 0, message.get("content"))
        _join(said.reasoning, 0, message.get("thinking"))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            held = said.calls.setdefault((0, len(said.calls)), {})
            held |= {"name": function["name"], "arguments": function["arguments"]}
            if call.get("id"):
                held["id"] = call["id"]
        if record.get("done"):
            reason = {"length": "length"}.get(record.get("done_reason"), "stop")
            said.finish[0] = "tool_calls" if said.calls and reason == "stop" else reason
            spent = [record.get(f"{name}_count", 0) for name in ("prompt_eval", "eval")]
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            said.usage = dict(zip(names, [*spent, sum(spent)], strict=True))
    return said


def parsed_calls(said: Said) -> list[dict[str, Any]]:
    """The tool calls with their arguments as values."""
    return [{**call, "arguments": json.loads(call["arguments"])} for call in said.calls.values()]


def read_completion(completion: dict[str, Any]) -> Said:
    """What an answer without streaming says."""
    said = Said(usage=completion.get("usage"))
    for choice in completion["choices"]:
        said._message(choice, choice["message"])
    return said


def check_status(response) -> None:
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


def check_error(error) -> None:
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"]
