"""Streams of an upstream that speaks the Responses API itself."""

from __future__ import annotations

import json

from tests.chunks import SSE
from trio_router.demo import Answer, cut

RESPONSE = {"id": "resp_9", "object": "response", "created_at": 1, "model": "m", "new": {"a": 1}}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def event(kind: str, number: int, **fields) -> bytes:
    value = {"type": kind, "sequence_number": number, **fields}
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()


def told(kind: str, number: int, status: str, **fields) -> bytes:
    whole = {**RESPONSE, "status": status, "output": [], "usage": None, **fields}
    return event(f"response.{kind}", number, response=whole)


CREATED = told("created", 0, "in_progress") + told("in_progress", 1, "in_progress")
COMPLETED = told("completed", 2, "completed", usage=USAGE)


def body(data: bytes, size: int | None = None) -> Answer:
    return Answer(headers=SSE, steps=cut(data, size or len(data)))
