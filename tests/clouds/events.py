"""AWS's event streams, written by hand from the published layout: for tests alone."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from typing import Any


def header(name: str, value: Any) -> bytes:
    key = name.encode()
    start = bytes([len(key)]) + key
    match value:
        case bool():
            return start + bytes([0 if value else 1])
        case int():
            return start + b"\x05" + struct.pack(">q", value)
        case bytes():
            return start + b"\x06" + struct.pack(">H", len(value)) + value
    text = value.encode()
    return start + b"\x07" + struct.pack(">H", len(text)) + text


def message(headers: dict[str, Any], payload: bytes) -> bytes:
    told = b"".join(header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(told) + len(payload), len(told))
    data = prelude + struct.pack(">I", binascii.crc32(prelude)) + told + payload
    return data + struct.pack(">I", binascii.crc32(data))


def event(kind: str, value: Any) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return message(headers, json.dumps(value, ensure_ascii=False).encode())


def chunk(value: Any) -> bytes:
    """What InvokeModelWithResponseStream says of a model's own event."""
    inner = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    return event("chunk", {"bytes": base64.b64encode(inner).decode(), "p": "abcdef"})


def exception(kind: str, text: str) -> bytes:
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(headers, json.dumps({"message": text}).encode())


def said(*pieces: str, stop: str = "end_turn", usage: dict[str, int] | None = None) -> bytes:
    """A plain answer of ConverseStream."""
    deltas = [
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "ab"})
        for piece in pieces
    ]
    counts = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12, **(usage or {})}
    return b"".join(
        [
            event("messageStart", {"role": "assistant", "p": "abc"}),
            *deltas,
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("messageStop", {"stopReason": stop}),
            event("metadata", {"usage": counts, "metrics": {"latencyMs": 3}}),
        ]
    )
