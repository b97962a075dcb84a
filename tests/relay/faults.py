"""Faults that a scripted upstream has, and what the router does about each."""

from __future__ import annotations

from tests.chunks import SSE, STOP, delta
from tests.relay.routes import good
from trio_router.demo import Abort, Answer, Close, Hang, Send, Sleep, error_answer, sse

BUSY = error_answer(503, "too busy", "overloaded_error")

LIMITED = error_answer(429, "slow down", "rate_limit_exceeded")

THRICE = [("x", 0.0), ("x", 0.25), ("x", 0.75)]  # the random number is always one half

HTML = Answer(headers=[("content-type", "text/html")], steps=[Send(b"<html>Sign in</html>")])


def limited(after: str) -> Answer:
    return error_answer(429, "slow", "rate_limit_exceeded", headers=[("retry-after", after)])


def streaming(*steps) -> Answer:
    return Answer(headers=SSE, steps=steps)


def broken(*steps) -> Answer:
    """An answer that says something and then meets `steps`."""
    return streaming(*sse(delta("one "), delta("two "), done=False), *steps)


# What a provider does before its first event -> when the providers were asked.
BEFORE = {
    "429 without Retry-After": ([LIMITED], [*THRICE, ("y", 0.75)]),
    "429 with Retry-After, once": ([limited("2"), good()], [("x", 0.0), ("x", 2.0)]),
    "429 with a long Retry-After": ([limited("60")], [("x", 0.0), ("y", 0.0)]),
    "500 once": ([error_answer(500, "?", "server_error"), good()], [("x", 0.0), ("x", 0.25)]),
    "503 for ever": ([BUSY], [*THRICE, ("y", 0.75)]),
    "408": ([error_answer(408, "?", "timeout")], [*THRICE, ("y", 0.75)]),
    "501": ([error_answer(501, "?", "not_implemented")], [("x", 0.0), ("y", 0.0)]),
    "silence after the headers": ([streaming(Hang())], [("x", 0.0), ("y", 10.0)]),
    "silence before the headers": ([Answer(head_delay=90)], [("x", 0.0), ("y", 10.0)]),
    "a slow first token": ([streaming(Sleep(12), *sse(STOP))], [("x", 0.0), ("y", 10.0)]),
    "a first token in time": ([streaming(Sleep(9), *good().steps)], [("x", 0.0)]),
    "comments and no event": (
        [lambda: streaming(*[s for _ in range(9) for s in (Send(b": hm\n\n"), Sleep(2))])],
        [("x", 0.0), ("y", 10.0)],
    ),
    "a reset after the headers": ([streaming(Abort())], [*THRICE, ("y", 0.75)]),
    "headers, then the end": ([streaming()], [*THRICE, ("y", 0.75)]),
    "headers, then a close": ([streaming(Close())], [*THRICE, ("y", 0.75)]),
    "a malformed first event": ([streaming(*sse("{nonsense"))], [*THRICE, ("y", 0.75)]),
    "an error in a 200": ([streaming(*sse({"error": {"message": "no"}}))], [*THRICE, ("y", 0.75)]),
    "HTML with 200": ([HTML], [*THRICE, ("y", 0.75)]),
    "a refused key": ([error_answer(401, "who?", "invalid_api_key")], [("x", 0.0), ("y", 0.0)]),
    "no such model": ([error_answer(404, "no", "model_not_found")], [("x", 0.0), ("y", 0.0)]),
    "no money": ([error_answer(429, "pay", "insufficient_quota")], [("x", 0.0), ("y", 0.0)]),
    "a parameter it has not": (
        [error_answer(400, "no", "unsupported_parameter")],
        [("x", 0.0), ("y", 0.0)],
    ),
}

# What happens to an answer that has begun -> the code of the honest error, and when it is told.
AFTER = {
    "cut": (broken(Abort()), "upstream_truncated", 0),
    "cut cleanly, without an end": (broken(), "upstream_truncated", 0),
    "stalled": (broken(Hang()), "provider_timeout", 30),
    "a malformed event": (broken(*sse("{nonsense")), "malformed_json", 0),
    "429 in mid-stream": (
        broken(*sse({"error": {"message": "rate limit", "code": 429}})),
        "provider_stream_error",
        0,
    ),
}
