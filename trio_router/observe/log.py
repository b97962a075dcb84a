"""The log: one JSON object a line, written by a thread so that a slow terminal stalls no stream."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from trio_router.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.record import RequestRecord

logger = logging.getLogger("trio_router")
_LAST_LINES = 0.3  # s that the last lines may take when the process leaves
_QUEUE = 10_000  # lines; beyond, the oldest are dropped rather than waited for
_GATHER = 0.05  # s in which lines gather, to be written at once
_AT_ONCE = 4096  # bytes of one write: so many a pipe takes in one piece, whoever else writes to it


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
        "route": record.route,
        "attempts": _attempts(record),
        "hedged": record.is_hedged,
        "replayed": record.is_replayed,
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
        "usage": record.usage,
    }


def _attempts(record: RequestRecord) -> list[dict[str, Any]]:
    if record.tried:
        return [
            {"target": t.target, "outcome": t.outcome, "error": t.error, "ms": _ms(t.seconds)}
            for t in record.tried
        ]
    if not record.attempts:
        return []
    target = f"{record.provider}/{record.model}"
    outcome, error = str(record.outcome), record.error_code
    return [{"target": target, "outcome": outcome, "error": error, "ms": _ms(record.duration)}]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def write_line(event: str, level: str, descriptor: int = 2, **fields: Any) -> None:
    """A line at once and by hand: for a process that must not have a thread."""
    line = {"time": _time(time.time()), "level": level, "event": event, **fields}
    with suppress(OSError):
        os.write(descriptor, dumps(line) + b"\n")


def _time(seconds: float) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{at}.{int(seconds % 1 * 1000):03d}Z"


class JSONFormatter(logging.Formatter):
    """`{"time", "level", "event", ...}`"""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", None) or {}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return dumps(line).decode()


class _Writer(logging.Handler):
    """Hands records to a thread, which formats them and writes them to a file descriptor.

    The thread wakes for many lines at once: waking it for each would cost more than the line, and
    take the interpreter's lock from the event loop.  What does not fit the queue is dropped rather
    than waited for.  It writes past Python's buffers: their lock, held by a write that nobody's
    reading lets end, would stop the process from leaving.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self._descriptor = descriptor
        self._lines: deque[logging.LogRecord] = deque(maxlen=_QUEUE)
        self._some = threading.Event()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock that the base class takes: appending to a deque needs none.
        self._lines.append(record)
        if not self._some.is_set():
            self._some.set()
        return True

    def close(self) -> None:
        """Waits a moment for the last lines, not for a reader that does not read."""
        self._is_ending.set()
        self._some.set()
        self._thread.join(_LAST_LINES)
        super().close()

    def _run(self) -> None:
        while not self._is_ending.is_set():
            self._some.wait()
            self._is_ending.wait(_GATHER)
            self._some.clear()
            self._write_all()

    def _write_all(self) -> None:
        text = b""
        while self._lines:
            line = f"{self.format(self._lines.popleft())}\n".encode()
            if len(text) + len(line) > _AT_ONCE:
                self._write(text)
                text = b""
            text += line
        self._write(text)

    def _write(self, text: bytes) -> None:
        rest = memoryview(text)
        with suppress(OSError):  # the reader is gone: there is nobody to tell
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


@contextmanager
def logging_to(descriptor: int = 2) -> Iterator[None]:
    """Everything logged inside goes to `descriptor` (default: standard error) as JSON lines."""
    writer = _Writer(descriptor)
    root = logging.getLogger()
    level = logger.level
    root.addHandler(writer)
    logger.setLevel(logging.INFO)
    # What no line shows need not be found out for each (Python's logging HOWTO, "Optimization").
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    try:
        yield
    finally:
        logging.logThreads = logging.logMultiprocessing = logging.logProcesses = True
        root.removeHandler(writer)
        logger.setLevel(level)
        writer.close()
