"""The pieces that a scripted upstream's chat stream is made of."""

from __future__ import annotations

SSE = (("content-type", "text/event-stream"),)

NDJSON = (("content-type", "application/x-ndjson"),)

HELLO = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def delta(text, finish=None, index=0, **more):
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish, **more}
    return {**HELLO, "choices": [choice]}


STOP = {**HELLO, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
