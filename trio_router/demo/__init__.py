"""The demo upstream: a real little server that can be told, by a model's name, to misbehave."""

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
