"""OpenTelemetry traces (optional): a span for each request; children: connect, first event, stream.

A chunk costs nothing: spans are made from the record when the request ends, and a thread sends them; it
drops what does not fit its queue.  The names are those of the semantic conventions for generative AI.
They are literals here, because the conventions are still "in development" and their module moves.

Without tracing, a client's `traceparent` and `tracestate` are passed to the upstream unchanged.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from trio_router.config.kinds import traced_name
from trio_router.observe.record import FAULTS
from trio_router.wire.names import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_router.observe.record import RequestRecord, Try

    LabelsOf = Callable[[RequestRecord], tuple[str, str]]

logger = logging.getLogger("trio_router")
_PARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
)
_STATE = re.compile(rb"[ -~]{1,512}")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def passed_on(traceparent: bytes, tracestate: bytes) -> bytes:
    """Header lines with the client's own trace context; empty if it has none or it is invalid."""
    if not _PARENT.fullmatch(traceparent):
        return b""
    lines = b"traceparent: %b\r\n" % traceparent
    return lines + b"tracestate: %b\r\n" % tracestate if _STATE.fullmatch(tracestate) else lines


class Tracing:
    """Makes spans from records.  `labels` gives the bounded names for the spans."""

    def __init__(self, provider: Any, labels: LabelsOf, wall: Callable[[], float]) -> None:
        # Imported here because the package is optional.
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._labels = labels
        self._wall = wall
        self._trace = trace
        self._tracer = provider.get_tracer("trio_router")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, record: RequestRecord, traceparent: bytes, tracestate: bytes) -> bytes:
        """Begins the span of a request.  Returns the header lines for the upstream."""
        carrier = {
            "traceparent": traceparent.decode("latin-1"),
            "tracestate": tracestate.decode("latin-1"),
        }
        epoch = self._wall() - trio.current_time()
        span = self._tracer.start_span(
            record.operation,
            context=self._propagator.extract(carrier),
            kind=self._trace.SpanKind.CLIENT,
            start_time=_nanoseconds(epoch + record.started_at),
        )
        record.span = (span, epoch)
        out: dict[str, str] = {}
        self._propagator.inject(out, self._trace.set_span_in_context(span))
        return b"".join(b"%b: %b\r\n" % (k.encode(), v.encode("latin-1")) for k, v in out.items())

    def ended(self, record: RequestRecord, base_url: str) -> None:
        """Ends the span of a request, once, and makes its children."""
        if record.span is None:
            return
        (span, epoch), record.span = record.span, None
        if span.is_recording():
            span.update_name(f"{record.operation} {self._labels(record)[1]}".strip())
            span.set_attributes(_attributes(record, base_url))
            if record.outcome in FAULTS:
                span.set_status(self._trace.StatusCode.ERROR, record.error_code or str(record.outcome))
            inside = self._trace.set_span_in_context(span)
            for number, attempt in enumerate(record.tries, 1):
                self._children(inside, record, attempt, number, epoch)
        span.end(_nanoseconds(epoch + (record.ended_at or record.started_at)))

    def close(self) -> None:
        """Sends the remaining spans.  It may take as long as the exporter's timeout."""
        self._provider.shutdown()

    def _children(
        self, inside: Any, record: RequestRecord, attempt: Try, number: int, epoch: float
    ) -> None:
        end = attempt.ended_at or record.ended_at or attempt.started_at
        moments = [attempt.started_at, attempt.sent_at, attempt.first_event_at, end]
        for name, began, ended in zip(
            ("connect", "first event", "stream"), moments, moments[1:], strict=False
        ):
            if began is None:
                return
            attributes = {
                "gen_ai.provider.name": traced_name(attempt.provider),
                "gen_ai.request.model": escaped(attempt.model),
                "trio_router.attempt": number,
            }
            child = self._tracer.start_span(
                name, context=inside, attributes=attributes, start_time=_nanoseconds(epoch + began)
            )
            # The phase that did not end is the one that failed.
            if (ended is None or name == "stream") and attempt.error is not None:
                child.set_attribute("error.type", attempt.error)
                child.set_status(self._trace.StatusCode.ERROR, attempt.error_text)
            child.end(_nanoseconds(epoch + (end if ended is None else ended)))


def tracing_from(
    environ: Mapping[str, str], labels: LabelsOf, wall: Callable[[], float]
) -> Tracing | None:
    """Tracing as the standard OTEL_* variables configure it; None if they configure none.

    It starts a thread, so the process must not fork afterwards.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    is_wanted = any(environ.get(name) for name in _ENDPOINTS) or exporter == "otlp"
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none"
    if not is_wanted or is_off:
        return None
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf" or exporter not in ("", "otlp"):
        logger.error("no traces: only the otlp exporter with protocol http/protobuf is supported")
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.error("no traces: install the extra with `pip install 'trio-router[otel]'`")
        return None
    ours = Resource.create({"service.name": "trio-router"})
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider, labels, wall)


def _attributes(record: RequestRecord, base_url: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": record.operation,
        "gen_ai.provider.name": traced_name(record.provider),
        "gen_ai.request.model": escaped(record.model),
        "gen_ai.request.stream": record.is_stream,
        "gen_ai.response.time_to_first_chunk": record.first_event_after,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "trio_router.cost_usd": record.cost_usd,
        "http.response.status_code": record.status or None,
        "trio_router.request_id": record.request_id,
        "trio_router.outcome": str(record.outcome),
        "trio_router.attempts": record.attempts,
        "trio_router.chunks": record.chunks_processed,
    }
    if record.outcome in FAULTS:
        kinds = [attempt.error for attempt in record.tries if attempt.error]
        found["error.type"] = kinds[-1] if kinds else record.error_code or str(record.outcome)
    if base_url:
        parts = urlsplit(base_url)
        found["server.address"] = parts.hostname
        found["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
    return {name: value for name, value in found.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
