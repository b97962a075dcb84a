"""The log: one JSON object a line, written by a thread so that a slow terminal stalls no stream."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from trio_router.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.record import RequestRecord

logger = logging.getLogger("trio_router")
_QUEUE = 10_000  # lines; what does not fit is dropped rather than waited for


def log_request(record: RequestRecord) -> None:
    """The line that ends a request.  It holds no text of prompt or answer and no secret."""
    logger.info("request", extra={"fields": request_fields(record)})


def request_fields(record: RequestRecord) -> dict[str, Any]:
    first = record.first_event_after
    return {
        "request_id": record.request_id,
        "key": record.key,
        "provider": record.provider,
        "model": record.model,
        "stream": record.is_stream,
        "format": record.format,
        "status": record.status,
        "outcome": str(record.outcome),
        "error_code": record.error_code,
        "attempts": record.attempts,
        "chunks_processed": record.chunks_processed,
        "chunks_failed": record.chunks_failed,
        "bytes_received": record.bytes_received,
        "unicode_errors": record.unicode_errors,
        "json_errors": record.json_errors,
        "first_event_ms": None if first is None else round(first * 1000, 1),
        "duration_ms": round(record.duration * 1000, 1),
        "backpressure_ms": round(record.backpressure * 1000, 1),
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
    }


class JSONFormatter(logging.Formatter):
    """`{"time", "level", "event", ...}`"""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", None) or {}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return dumps(line).decode()


class _DroppingHandler(logging.handlers.QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # formatted in the thread, off the event loop

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)


@contextmanager
def logging_to(stream: TextIO | None = None) -> Iterator[None]:
    """Everything logged inside goes to `stream` (default: standard error) as JSON lines."""
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JSONFormatter())
    lines: queue.Queue[Any] = queue.Queue(_QUEUE)
    handler = _DroppingHandler(lines)
    listener = logging.handlers.QueueListener(lines, output)
    root = logging.getLogger()
    level = logger.level
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        logger.setLevel(level)
        listener.stop()
