"""Messages streams read as simply as can be, with nothing of the router's."""

from __future__ import annotations

import json

from trio_router.dialects.base import AnswerIdentity

WHO = AnswerIdentity("chatcmpl-7", 1700000000, "anthropic/m")


def events(data: bytes) -> list[dict]:
    lines = data.decode().splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def frames(data: bytes) -> list[tuple[str, dict]]:
    """Events with their names, which must be framed to the letter."""
    assert data.endswith(b"\n\n") or not data
    read = []
    for frame in data.decode().split("\n\n")[:-1]:
        name, body = frame.split("\n")
        assert name.startswith("event: ")
        assert body.startswith("data: ")
        read.append((name[7:], json.loads(body[6:])))
    return read


def message(stream: list[dict]) -> dict:
    """The message that a stream of events adds up to."""
    whole: dict = {}
    inputs: dict[int, str] = {}
    for event in stream:
        match event["type"]:
            case "message_start":
                whole = json.loads(json.dumps(event["message"]))
            case "content_block_start":
                assert event["index"] == len(whole["content"])
                whole["content"].append(json.loads(json.dumps(event["content_block"])))
            case "content_block_delta":
                grow(whole["content"][event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                whole |= event["delta"]
                whole["usage"] |= {k: v for k, v in event["usage"].items() if v is not None}
    for index, text in inputs.items():
        if text:
            whole["content"][index]["input"] = json.loads(text)
    return whole


def grow(block: dict, delta: dict, inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block.setdefault("citations", []).append(delta["citation"])
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case "compaction_delta":
            block["content"] = (block["content"] or "") + delta["content"]
        case kind:
            raise AssertionError(kind)


def text(whole: dict) -> str:
    return "".join(b["text"] for b in whole["content"] if b["type"] == "text")


def thinking(whole: dict) -> str:
    return "".join(b["thinking"] for b in whole["content"] if b["type"] == "thinking")


def calls(whole: dict) -> list[tuple]:
    return [(b["id"], b["name"], b["input"]) for b in whole["content"] if b["type"] == "tool_use"]


def check_grammar(read: list[tuple[str, dict]]) -> None:
    """message_start, blocks one after another, message_delta, message_stop."""
    assert all(name == event["type"] for name, event in read)
    assert read[0][0] == "message_start"
    assert [name for name, _ in read[-2:]] == ["message_delta", "message_stop"]
    opened, count = None, 0
    for name, event in read[1:-2]:
        match name:
            case "content_block_start":
                assert opened is None
                assert event["index"] == count
                opened, count = event["index"], count + 1
            case "content_block_delta":
                assert event["index"] == opened
            case "content_block_stop":
                assert event["index"] == opened
                opened = None
            case _:
                raise AssertionError(name)
    assert opened is None
