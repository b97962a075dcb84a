"""What an answer says, whatever API it is told in: read simply, with no code of the router.

`told` reads what an upstream of some dialect said, `got` what a client of some API was given; the two
gists of one answer must be equal.  Of several choices the first is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.reading import split_sse
from tests.e2e.replay import GEMINI, GEMINI_ARRAY

Value = dict[str, Any]


@dataclass
class Gist:
    """`finish` is None where nothing was said of it, `failed` says that the stream ended badly,
    `is_cut` that it just ended.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)  # names, and arguments as values
    finish: str | None = None  # in OpenAI's words
    output_tokens: int | None = None
    thought_tokens: int = 0  # that are counted beside `output_tokens`, and not in them
    failed: bool = False
    is_cut: bool = False


# -- upstreams


def told(dialect: str, body: bytes) -> Gist:
    """What an upstream said, streaming or not."""
    return _TOLD[dialect](_records(body))


def _records(body: bytes) -> list[tuple[bytes, Any]]:
    """(event name, value) of each record; None for one that is no JSON."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        value = json.loads(text.decode(errors="replace"))
    except ValueError:
        pass
    else:
        return [(b"", v) for v in (value if isinstance(value, list) else [value])]
    if text.startswith(b"{"):
        return [(b"", json.loads(line)) for line in text.split(b"\n") if line.strip()]
    found = []
    for name, data in split_sse(body):
        if data.strip() == b"[DONE]":
            break
        try:
            found.append((name, json.loads(data.decode(errors="replace"))))
        except ValueError:
            found.append((name, None))
    return found


def _good(records: list[tuple[bytes, Any]], gist: Gist) -> list[Value]:
    """The records up to the first that is an error or broken."""
    good = []
    for name, value in records:
        if not isinstance(value, dict) or value.get("error") or name == b"error":
            gist.failed = True
            break
        good.append(value)
    return good


def _openai(records: list[tuple[bytes, Any]]) -> Gist:
    gist = Gist()
    calls: dict[Any, list[str]] = {}
    for chunk in _good(records, gist):
        usage = chunk.get("usage") or {}
        gist.output_tokens = usage.get("completion_tokens", gist.output_tokens)
        gist.thought_tokens = _beside(usage) if usage else gist.thought_tokens
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                _openai_choice(choice, gist, calls)
    gist.calls = [(name, _arguments(arguments)) for name, arguments in calls.values()]
    return gist


def _beside(usage: Value) -> int:
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    both = sum(usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
    return thoughts if usage.get("total_tokens") == both + thoughts else 0


def _openai_choice(choice: Value, gist: Gist, calls: dict[Any, list[str]]) -> None:
    said = choice.get("delta") or {}
    if choice.get("message") and not gist.text:  # Perplexity says it all again, at the end
        said = choice["message"]
    _openai_content(said.get("content"), gist)
    gist.text += said.get("refusal") or ""
    details = "".join(
        d.get("text") or d.get("summary") or "" for d in said.get("reasoning_details") or ()
    )
    gist.reasoning += said.get("reasoning_content") or said.get("reasoning") or details
    given = list(said.get("tool_calls") or ())
    if (said.get("function_call") or {}).get("name"):  # of the old kind
        given.append({"function": said["function_call"]})
    for place, call in enumerate(given):
        key = call["index"] if call.get("index") is not None else call.get("id", place)
        held = calls.setdefault(key, ["", ""])
        function = call.get("function") or {}
        held[0] += function.get("name") or ""
        held[1] += function.get("arguments") or ""
    gist.finish = choice.get("finish_reason") or gist.finish


def _openai_content(content: Any, gist: Gist) -> None:
    if isinstance(content, str):
        gist.text += content
    elif isinstance(content, dict):
        gist.text += json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for part in content if isinstance(content, list) else ():
        gist.text += part.get("text") or ""
        gist.reasoning += "".join(thought["text"] for thought in part.get("thinking") or ())


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text or {}


_STOPS = {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


def _anthropic(records: list[tuple[bytes, Any]]) -> Gist:
    gist = Gist()
    blocks: dict[int, Value] = {}
    for event in _good(records, gist):
        message = event if event.get("type") == "message" else event.get("message") or {}
        for block in message.get("content") or ():
            blocks[len(blocks)] = dict(block)
        usage = event.get("usage") or message.get("usage") or {}
        gist.output_tokens = usage.get("output_tokens", gist.output_tokens)
        stop = (event.get("delta") or message).get("stop_reason")
        gist.finish = _STOPS.get(stop, "stop") if stop else gist.finish
        if event.get("type") == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event.get("type") == "content_block_delta":
            for name, value in event["delta"].items():
                if isinstance(value, str) and name != "type":
                    block = blocks[event["index"]]
                    block[name] = (block.get(name) or "") + value
    for block in blocks.values():
        gist.text += block["text"] if block["type"] == "text" else ""
        gist.reasoning += block["thinking"] if block["type"] == "thinking" else ""
        if block["type"] == "tool_use":
            given = block.get("partial_json")
            gist.calls.append((block["name"], _arguments(given) if given else block["input"]))
    return gist


def _ollama(records: list[tuple[bytes, Any]]) -> Gist:
    gist = Gist()
    for record in _good(records, gist):
        message = record.get("message") or {**record, "content": record.get("response")}
        gist.text += message.get("content") or ""
        gist.reasoning += message.get("thinking") or ""
        for call in message.get("tool_calls") or ():
            gist.calls.append((call["function"]["name"], call["function"]["arguments"]))
        if record.get("done"):
            is_full = record.get("done_reason") == "length"
            gist.finish = "length" if is_full else "tool_calls" if gist.calls else "stop"
            gist.output_tokens = record.get("eval_count", 0)
    return gist


_GEMINI_FULL = frozenset({"MAX_TOKENS"})
_GEMINI_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
    }
)


def _gemini(records: list[tuple[bytes, Any]]) -> Gist:
    gist = Gist()
    usage: Value = {}
    for record in _good(records, gist):
        # One last record leaves out the tokens of the answer, which the one before has counted.
        usage |= record.get("usageMetadata") or {}
        if usage:
            gist.output_tokens = usage.get("candidatesTokenCount", 0) + usage.get(
                "thoughtsTokenCount", 0
            )
        if (record.get("promptFeedback") or {}).get("blockReason"):
            gist.finish = "content_filter"
        first = (c for c in record.get("candidates") or () if c.get("index", 0) == 0)
        for candidate in first:
            for part in (candidate.get("content") or {}).get("parts") or ():
                if part.get("thought"):
                    gist.reasoning += part.get("text") or ""
                else:
                    gist.text += part.get("text") or ""
                if call := part.get("functionCall"):
                    gist.calls.append((call["name"], call.get("args") or {}))
            if reason := candidate.get("finishReason"):
                gist.finish = "tool_calls" if gist.calls else "stop"
                gist.finish = "length" if reason in _GEMINI_FULL else gist.finish
                gist.finish = "content_filter" if reason in _GEMINI_FILTERED else gist.finish
    gist.is_cut = gist.finish is None and not gist.failed
    gist.failed = gist.failed or gist.is_cut
    return gist


_COHERE = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}


def _cohere(records: list[tuple[bytes, Any]]) -> Gist:
    """A tool plan is reasoning: it says why the tools are called."""
    gist = Gist()
    calls: dict[Any, list[str]] = {}
    for record in _good(records, gist):
        message = (record.get("delta") or record).get("message") or {}
        content = message.get("content") or []
        for part in content if isinstance(content, list) else [content]:
            gist.text += part.get("text") or ""
            gist.reasoning += part.get("thinking") or ""
        gist.reasoning += message.get("tool_plan") or ""
        given = message.get("tool_calls") or []
        for place, call in enumerate(given if isinstance(given, list) else [given]):
            held = calls.setdefault(record.get("index", place), ["", ""])
            held[0] += call["function"].get("name") or ""
            held[1] += call["function"].get("arguments") or ""
        end = record.get("delta") or record
        if reason := end.get("finish_reason"):
            gist.finish = _COHERE[reason]
            tokens = (end.get("usage") or {}).get("tokens") or {}
            gist.output_tokens = tokens.get("output_tokens")
    gist.calls = [(name, _arguments(arguments)) for name, arguments in calls.values()]
    return gist


_TOLD = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "gemini": _gemini,
    "cohere": _cohere,
}


# -- clients


def got(path: str, body: bytes) -> Gist:
    """What a client that asked `path` was given, streaming or not."""
    records = _records(body)
    if path == "/v1/responses":
        return _responses(records)
    if path == "/v1/completions":
        return _completions(records)
    if path in ("/api/chat", "/api/generate"):
        return _ollama_client(records)
    if path in (GEMINI, GEMINI_ARRAY):
        gist = _gemini(records)
        if gist.is_cut:  # the router tells a fault with an error; an end without a reason is one too
            gist.failed = gist.is_cut = False
        return gist
    return _anthropic(records) if path == "/v1/messages" else _openai(records)


def _ollama_client(records: list[tuple[bytes, Any]]) -> Gist:
    """Like an upstream's, but other providers' reasons and missing counts are told as they are."""
    gist = _ollama(records)
    last = records[-1][1] if records else {}
    gist.is_cut = not gist.failed and last.get("done") is not True
    gist.output_tokens = last.get("eval_count")
    if last.get("done_reason") == "content_filter":
        gist.finish = "content_filter"
    assert [value.get("done") for _, value in records[:-1]] == [False] * (len(records) - 1)
    assert not (gist.failed and last.get("done"))
    return gist


def _responses(records: list[tuple[bytes, Any]]) -> Gist:
    gist = Gist()
    values = _good(records, gist)
    if not values:
        return gist
    whole = values[-1].get("response", values[-1])
    if gist.failed or whole.get("status") == "failed":
        spoken = ("response.output_text.delta", "response.refusal.delta")
        deltas = (v["delta"] for v in values if v.get("type") in spoken)
        return Gist("".join(deltas), failed=True)
    for item in whole.get("output") or ():
        match item["type"]:
            case "message":
                for part in item["content"]:
                    gist.text += part.get("text") or part.get("refusal") or ""
            case "reasoning":
                for part in [*(item.get("summary") or ()), *(item.get("content") or ())]:
                    gist.reasoning += part["text"]
            case "function_call":
                gist.calls.append((item["name"], _arguments(item["arguments"])))
    gist.finish = "tool_calls" if gist.calls else "stop"
    if whole.get("status") == "incomplete":
        reason = whole["incomplete_details"]["reason"]
        gist.finish = "length" if reason == "max_output_tokens" else "content_filter"
    gist.output_tokens = (whole.get("usage") or {}).get("output_tokens")
    return gist


def _completions(records: list[tuple[bytes, Any]]) -> Gist:
    gist = Gist()
    for record in _good(records, gist):
        usage = record.get("usage") or {}
        gist.output_tokens = usage.get("completion_tokens", gist.output_tokens)
        for choice in record.get("choices") or ():
            if choice.get("index", 0) == 0:
                gist.text += choice.get("text") or ""
                gist.finish = choice.get("finish_reason") or gist.finish
    return gist
