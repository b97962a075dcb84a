"""The log: one JSON object a line.  A thread writes it, so that a slow terminal stalls no stream."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trio_router.observe.record import FAULTS, Outcome
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.observe.record import RequestRecord

logger = logging.getLogger("trio_router")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_LAST_LINES = 0.3  # s that the last lines may take when the process exits
_QUEUE = 10_000  # lines; beyond that the oldest are dropped
_GATHER = 0.05  # s in which lines are gathered for one write
_AT_ONCE = 4096  # bytes of one write, which a pipe takes atomically


def log_request(record: RequestRecord) -> None:
    """Logs the end of a request, without any text of prompt or answer and without secrets."""
    level = _level(record.outcome)
    if logger.isEnabledFor(level):
        # Not `logger.log`: it would look up the caller's line, which is not shown.
        fields = {"fields": request_fields(record)}
        logger.handle(logger.makeRecord(logger.name, level, "", 0, "request", (), None, extra=fields))


def _level(outcome: Outcome | None) -> int:
    if outcome is Outcome.INTERNAL_ERROR:
        return logging.ERROR
    if outcome in FAULTS or outcome is Outcome.CLIENT_STALLED:
        return logging.WARNING
    return logging.INFO


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
        "error_code": _code(record.error_code),
        "route": record.route,
        "attempts": _attempts(record),
        "hedged": record.is_hedged,
        "replayed": record.is_replayed,
        "dropped": list(record.dropped),
        "chunks_processed": record.chunks_processed,
        "chunks_failed": record.chunks_failed,
        "bytes_received": record.bytes_received,
        "unicode_errors": record.unicode_errors,
        "json_errors": record.json_errors,
        "first_event_ms": None if first is None else round(first * 1000, 1),
        "max_gap_ms": round(record.max_gap * 1000, 1),
        "duration_ms": round(record.duration * 1000, 1),
        "backpressure_ms": round(record.backpressure * 1000, 1),
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        "reasoning_tokens": None if record.used is None else record.used.reasoning,
        "usage": record.usage,
        "cost_usd": record.cost_usd,
    }


def _attempts(record: RequestRecord) -> list[dict[str, Any]]:
    if record.is_counted_singly:
        return [
            _attempt(t.target, t.outcome, t.code, (t.ended_at or t.started_at) - t.started_at)
            for t in record.tries
        ]
    if not record.attempts:
        return []
    target = f"{record.provider}/{record.model}"
    return [_attempt(target, str(record.outcome), record.error_code, record.duration)]


def _attempt(target: str, outcome: str | None, code: str | None, seconds: float) -> dict[str, Any]:
    return {"target": target, "outcome": outcome, "error": _code(code), "ms": _ms(seconds)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _code(code: str | None) -> str | None:
    """An upstream's error code, only if it is a single word: a text may quote something."""
    return code if code is None or _CODE.fullmatch(code) else "other"


def write_line(wall: float, event: str, level: str, descriptor: int = 2, **fields: Any) -> None:
    """Writes a line at once, without a thread: for a process that must not have one.

    The line is lost if writing it would block.
    """
    line = {"time": _time(wall), "level": level, "event": event, **fields}
    with suppress(OSError, ValueError):  # closed, or the reader has gone
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, dumps(line) + b"\n")


def _time(seconds: float) -> str:
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)  # many lines fall into one second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


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
        text = dumps(line).decode()
        if text.isprintable():
            return text
        # Some readers treat U+0085 and U+2028 as line ends.  They only occur inside strings.
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


class ConsoleFormatter(logging.Formatter):
    """For people: `12:34:56.789 INFO  request completed deepseek/chat 1.2 s ...`"""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields: dict[str, Any] = getattr(record, "fields", None) or {}
        told = _request_text(fields) if "duration_ms" in fields else _pairs(fields)
        line = (
            f"{at}.{int(record.msecs):03d} {record.levelname:<7} "
            f"{record.getMessage()}{told and ' ' + told}"
        )
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            return "\n".join(map(escaped, [line, *trace]))
        return escaped(line)


def _request_text(fields: dict[str, Any]) -> str:
    target = f"{fields['provider']}/{fields['model']}" if fields["provider"] else "-"
    first = fields["first_event_ms"]
    words = [fields["outcome"], target, f"{fields['duration_ms'] / 1000:.2f} s"]
    if first is not None:
        words.append(f"first {first:.0f} ms")
    rest = {
        "status": fields["status"],
        "error": fields["error_code"],
        "chunks": fields["chunks_processed"],
        "failed": fields["chunks_failed"],
        "unicode_errors": fields["unicode_errors"],
        "json_errors": fields["json_errors"],
        "max_gap_ms": fields["max_gap_ms"],
        "blocked_ms": fields["backpressure_ms"],
        "tokens": fields["completion_tokens"],
        "key": fields["key"],
        "id": fields["request_id"],
    }
    return " ".join([*words, _pairs({name: value for name, value in rest.items() if value})])


def _pairs(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


FORMATS: dict[str, type[logging.Formatter]] = {"json": JSONFormatter, "console": ConsoleFormatter}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How to log: `format` is one of FORMATS, `level` the lowest level that is logged.

    Without a level the configuration's counts.
    """

    format: str = "json"
    level: str | None = None


_DEFAULT = LogSettings()


class _Writer(logging.Handler):
    """Hands records to a thread, which formats them and writes them to a file descriptor.

    The thread wakes for many lines at once: waking it for each line would cost more than the line,
    and take the interpreter's lock from the event loop.  Lines that do not fit the queue are dropped.
    The thread bypasses Python's buffers, because a write that blocks for lack of a reader would hold
    their lock and keep the process from exiting.

    `logging.handlers.QueueListener` promises none of this: it takes a lock for each record, wakes its
    thread for each line, and waits at the end for whoever reads.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._descriptor = descriptor
        self._lines: deque[logging.LogRecord] = deque(maxlen=_QUEUE)
        self._some = threading.Event()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the base class's lock: appending to a deque needs none.
        self._lines.append(record)
        if not self._some.is_set():
            self._some.set()
        return True

    def close(self) -> None:
        """Waits a moment for the last lines, but not for a reader that does not read."""
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
            line = self._line(self._lines.popleft())
            if len(text) + len(line) > _AT_ONCE:
                self._write(text)
                text = b""
            text += line
        self._write(text)

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            return f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception as fault:  # a line that cannot be formatted must not end the log
            told = {"level": "error", "event": "a line could not be written", "reason": repr(fault)}
            return dumps(told) + b"\n"

    def _write(self, text: bytes) -> None:
        rest = memoryview(text)
        with suppress(OSError):  # the reader has gone
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


@contextmanager
def logging_to(descriptor: int = 2, settings: LogSettings = _DEFAULT) -> Iterator[None]:
    """Everything logged inside goes to `descriptor` (default: standard error) as `settings` say."""
    writer = _Writer(descriptor, FORMATS[settings.format]())
    root = logging.getLogger()
    level = logger.level
    root.addHandler(writer)
    log_level(settings.level or "info")
    # Do not collect what no line shows (Python's logging HOWTO, "Optimization").
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    try:
        yield
    finally:
        logging.logThreads = logging.logMultiprocessing = logging.logProcesses = True
        root.removeHandler(writer)
        logger.setLevel(level)
        writer.close()


def log_level(level: str) -> None:
    """From now on this is the least that is logged."""
    logger.setLevel(level.upper())
