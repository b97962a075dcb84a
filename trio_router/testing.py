"""For tests of what reads LLM streams: an upstream that does what you tell it.

    async def test_a_torn_event_is_put_together(nursery):
        upstream = DemoUpstream()
        upstream.script = lambda request: Answer(steps=cut(b'data: {"text": "\\xc3\\xa9"}\\n\\n', 1))
        port = await nursery.start(upstream.serve)
        assert await my_client(f"http://127.0.0.1:{port}/v1") == ["é"]

Without a `script` the model's name is one: `echo-d50-x3` waits 50 ms before each chunk and breaks
off after the third (`trio_router.demo.script` has the table).  `upstream.closed_early` tells which
readers left before the end, `await upstream.wait_closed_early()` waits for one.
"""

from trio_router.demo import (
    Abort,
    Answer,
    Close,
    ClosedEarly,
    DemoUpstream,
    Hang,
    SeenRequest,
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
