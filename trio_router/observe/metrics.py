"""The metrics that `GET /metrics` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from trio_router.record import RequestRecord

_PREFIX = "trio_router_"
_FIRST_EVENT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)  # s
_GAP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # s
_STREAM = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)  # s
_RELEASE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)  # s
# Names that clients make up must not become time series without end.
_MAX_UNLISTED = 100


class Metrics:
    """One router's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_model = ["provider", "model"]
        self._requests = self._counter("requests", "Requests by outcome", [*by_model, "outcome"])
        self._streams_open = Gauge(
            f"{_PREFIX}streams_open",
            "Streams open towards clients",
            by_model,
            registry=self.registry,
        )
        self._upstreams_open = Gauge(
            f"{_PREFIX}upstreams_open", "Upstream answers open", by_model, registry=self.registry
        )
        self._first_event = self._histogram(
            "first_event_seconds", "Time to the first event", by_model, _FIRST_EVENT
        )
        self._gap = self._histogram(
            "event_gap_seconds", "Silence between two reads of a running stream", by_model, _GAP
        )
        self._stream_seconds = self._histogram(
            "stream_seconds", "Length of streams", [*by_model, "outcome"], _STREAM
        )
        self._processed = self._counter("chunks_processed", "Events read", by_model)
        self._failed = self._counter("chunks_failed", "Events that could not be used", by_model)
        self._bytes = self._counter("bytes_received", "Body bytes from upstreams", by_model)
        self._unicode = self._counter("unicode_errors", "U+FFFD put in for bad bytes", by_model)
        self._json = self._counter("json_errors", "Events that were not JSON", by_model)
        self._tokens = self._counter(
            "tokens", "Tokens, as upstreams count them", [*by_model, "direction"]
        )
        self._backpressure = self._counter(
            "backpressure_seconds", "Time that upstreams waited for clients", by_model
        )
        self._release = self._histogram(
            "release_seconds", "From the client's leaving to the upstream's close", by_model, _RELEASE
        )
        self._unlisted: dict[str, set[str]] = {}

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"{_PREFIX}{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(f"{_PREFIX}{name}", text, labels, buckets=buckets, registry=self.registry)

    def labels(self, record: RequestRecord) -> tuple[str, str]:
        """The `provider` and `model` labels of a request: never a name that only a client knows."""
        if not record.provider or record.is_listed:
            return record.provider, record.model
        known = self._unlisted.setdefault(record.provider, set())
        if record.model not in known:
            # A model is known once its provider has answered for it.
            if record.first_event_at is None or len(known) >= _MAX_UNLISTED:
                return record.provider, "other"
            known.add(record.model)
        return record.provider, record.model

    def streams_open(self, labels: tuple[str, str]) -> Gauge:
        return self._streams_open.labels(*labels)

    def upstreams_open(self, labels: tuple[str, str]) -> Gauge:
        return self._upstreams_open.labels(*labels)

    def gap(self, labels: tuple[str, str]) -> Histogram:
        return self._gap.labels(*labels)

    def released(self, record: RequestRecord, seconds: float) -> None:
        self._release.labels(*self.labels(record)).observe(seconds)

    def ended(self, record: RequestRecord) -> None:
        """Books a request, at its end, once."""
        labels = self.labels(record)
        outcome = str(record.outcome)
        self._requests.labels(*labels, outcome).inc()
        if record.is_stream:
            self._stream_seconds.labels(*labels, outcome).observe(record.duration)
        if record.first_event_after is not None:
            self._first_event.labels(*labels).observe(record.first_event_after)
        for counter, amount in (
            (self._processed, record.chunks_processed),
            (self._failed, record.chunks_failed),
            (self._bytes, record.bytes_received),
            (self._unicode, record.unicode_errors),
            (self._json, record.json_errors),
            (self._backpressure, record.backpressure),
        ):
            counter.labels(*labels).inc(amount)
        for direction, tokens in (
            ("input", record.prompt_tokens),
            ("output", record.completion_tokens),
        ):
            if tokens:
                self._tokens.labels(*labels, direction).inc(tokens)

    def render(self) -> bytes:
        """The Prometheus text."""
        return generate_latest(self.registry)
