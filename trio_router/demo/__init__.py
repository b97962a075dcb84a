"""The demo upstream: a small real server that misbehaves as a model's name tells it to.

For newcomers (`demo/echo`, and a real model without any key) and for tests (`trio_router.testing`).

    server                  `DemoUpstream`: routes requests, counts what it saw
    connection              one HTTP/1.1 connection, answers written step by step
    script, replies, answers
                            the name as a script; the answer it asks for; the steps of an answer
    local_model, llama_child, relay
                            a real model in a child process, started on demand

It is independent of the other rooms but for `wire`: it must not share the router's faults.
"""

from trio_router.demo.answers import (
    Abort,
    Answer,
    Close,
    Hang,
    Send,
    Sleep,
    Step,
    WaitFor,
    cut,
    error_answer,
    json_answer,
    ndjson,
    sse,
)
from trio_router.demo.connection import SeenRequest
from trio_router.demo.server import ClosedEarly, DemoUpstream

__all__ = [
    "Abort",
    "Answer",
    "Close",
    "ClosedEarly",
    "DemoUpstream",
    "Hang",
    "SeenRequest",
    "Send",
    "Sleep",
    "Step",
    "WaitFor",
    "cut",
    "error_answer",
    "json_answer",
    "ndjson",
    "sse",
]
