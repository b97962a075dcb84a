"""The log: one JSON object a line, written by a thread so that a slow terminal stalls no stream."""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from trio_router.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.record import RequestRecord

logger = logging.getLogger("trio_router")
_LAST_LINES = 0.3  # s that the last lines may take when the process leaves
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


class _Lines(logging.Handler):
    """Writes to a file descriptor, past Python's buffers.

    Their lock, held by a write that nobody's reading lets end, would stop the process from leaving.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        rest = memoryview(f"{self.format(record)}\n".encode())
        with suppress(OSError):  # the reader is gone: there is nobody to tell
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


class _Listener(logging.handlers.QueueListener):
    def handle(self, record: logging.LogRecord) -> None:
        # Not `handler.handle`: it would hold the handler's lock, which `logging` takes at exit.
        for handler in self.handlers:
            handler.emit(record)

    def stop(self) -> None:
        """Waits a moment for the last lines, not for a reader that does not read."""
        with suppress(queue.Full):
            self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(_LAST_LINES)
            self._thread = None


@contextmanager
def logging_to(descriptor: int = 2) -> Iterator[None]:
    """Everything logged inside goes to `descriptor` (default: standard error) as JSON lines."""
    output = _Lines(descriptor)
    output.setFormatter(JSONFormatter())
    lines: queue.Queue[Any] = queue.Queue(_QUEUE)
    handler = _DroppingHandler(lines)
    listener = _Listener(lines, output)
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
