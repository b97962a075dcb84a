"""What Gemini's and Cohere's own streams and answers say, read as simply as can be; see `reading`."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.reading import Said, _join, split_sse

GEMINI_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "MODEL_ARMOR": "content_filter",
}


def records(body: bytes) -> list[dict[str, Any]]:
    """Events, the elements of an array, or the one record there is; up to one that is broken."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:1] in (b"{", b"["):
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    found = []
    for _, data in split_sse(body):
        if data.strip() == b"[DONE]":
            break
        try:
            found.append(json.loads(data))
        except ValueError:
            break
    return found


def images(said: list[dict[str, Any]]) -> list[str]:
    parts = [p for r in said for c in r.get("candidates") or () for p in _parts(c)]
    data = [part["inlineData"] for part in parts if "inlineData" in part]
    return [f"data:{d['mimeType']};base64,{d['data']}" for d in data]


def _parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    return (candidate.get("content") or {}).get("parts") or []


def read_gemini(body: bytes) -> Said:
    """As OpenAI would name it.  Without a finish reason it did not end."""
    said, usage = Said(), {}
    for record in records(body):
        usage |= record.get("usageMetadata") or {}
        if (record.get("promptFeedback") or {}).get("blockReason"):
            said.finish.setdefault(0, "content_filter")
        for candidate in record.get("candidates") or ():
            index = candidate.get("index", 0)
            for part in _parts(candidate):
                _join(said.reasoning if part.get("thought") else said.text, index, part.get("text"))
                if call := part.get("functionCall"):
                    held = said.calls.setdefault((index, len(said.calls)), {})
                    held |= {"name": call["name"], "arguments": call.get("args") or {}}
                    if call.get("id"):
                        held["id"] = call["id"]
            if reason := candidate.get("finishReason"):
                said.finish[index] = GEMINI_FINISH.get(reason, "stop")
    for index in {index for index, _ in said.calls}:
        if said.finish.get(index) == "stop":
            said.finish[index] = "tool_calls"
    if usage:
        said.usage = {
            "prompt_tokens": usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0),
            "completion_tokens": usage.get("candidatesTokenCount", 0)
            + usage.get("thoughtsTokenCount", 0),
        }
    return said


COHERE_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}


def read_cohere(body: bytes) -> Said:
    said = Said()
    for record in records(body):
        delta = record.get("delta") or {}
        message = (delta.get("message") or {}) if "type" in record else record["message"]
        content = message.get("content") or []
        for block in content if isinstance(content, list) else [content]:
            _join(said.text, 0, block.get("text"))
            _join(said.reasoning, 0, block.get("thinking"))
        _join(said.reasoning, 0, message.get("tool_plan"))
        calls = message.get("tool_calls") or []
        for place, call in enumerate(calls if isinstance(calls, list) else [calls]):
            held = said.calls.setdefault((0, record.get("index", place)), {"arguments": ""})
            function = call["function"]
            held["arguments"] += function.get("arguments") or ""
            held |= {"id": call["id"], "name": function["name"]} if "id" in call else {}
        source = delta if "type" in record else record
        if source.get("finish_reason"):
            said.finish[0] = COHERE_FINISH[source["finish_reason"]]
        if tokens := (source.get("usage") or {}).get("tokens"):
            spent = tokens["input_tokens"], tokens["output_tokens"]
            said.usage = dict(zip(("prompt_tokens", "completion_tokens"), spent, strict=True))
    for call in said.calls.values():
        call["arguments"] = json.loads(call["arguments"] or "{}")
    return said
