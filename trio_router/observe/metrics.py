"""The metrics that `GET /metrics` shows."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from trio_router.observe.exposition import text_of
from trio_router.wire.names import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Literal

    from trio_router.observe.record import Outcome, RequestRecord, TargetReport, Try

# prometheus-client's own variable: the folder for the figures of several processes.  It is read when
# prometheus-client is first imported.
MANY_PROCESSES = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "trio_router_"
_BY_MODEL = ["provider", "model"]
_FIRST_EVENT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)  # s
_GAP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # s
_STREAM = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)  # s
_RELEASE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)  # s
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # s
# Label for names that clients make up, which must not become unlimited time series.
_MAX_UNLISTED = 100


class Metrics:
    """One router's metrics, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_requests()
        self._count_money()
        self._count_chunks()
        self._count_attempts()
        self._watch_process()
        self._were_cooling: set[tuple[str, str]] = set()
        self._rendering = trio.Lock()
        self._rendered = (-math.inf, b"")  # when rendering of the latest text began, and the text
        self._unlisted: dict[str, dict[str, str]] = {}
        self._series: dict[tuple[str, str], ModelMetrics] = {}

    def _count_requests(self) -> None:
        self.requests = self._counter("requests", "Requests by outcome", [*_BY_MODEL, "outcome"])
        self.requests_open = self._gauge("requests_open", "Requests under way, whatever they wait for")
        self.streams_open = self._gauge("streams_open", "Streams open towards clients", _BY_MODEL)
        self.first_event = self._histogram(
            "first_event_seconds", "Time to the first event", _BY_MODEL, _FIRST_EVENT
        )
        self.gap = self._histogram(
            "event_gap_seconds", "Silence between two reads of a running stream", _BY_MODEL, _GAP
        )
        self.stream_seconds = self._histogram(
            "stream_seconds", "Length of streams", [*_BY_MODEL, "outcome"], _STREAM
        )
        self.tokens = self._counter(
            "tokens", "Tokens, as upstreams count them", [*_BY_MODEL, "direction"]
        )
        self.tokens_cached = self._counter(
            "cached_tokens", "Input tokens that upstreams say they read from their caches", _BY_MODEL
        )
        self.tokens_estimated = self._counter(
            "tokens_estimated",
            "Tokens of answers whose upstream reported no usage, estimated from sizes",
            [*_BY_MODEL, "direction"],
        )

    def _count_money(self) -> None:
        self.cost = self._counter(
            "cost_usd", "US dollars that attempts cost, where a price is known", _BY_MODEL
        )
        self.limit_refusals = self._counter(
            "limit_refusals", "Requests that a limit or a budget refused", ["limit"]
        )
        self.budget_remaining = self._gauge(
            "budget_remaining_usd",
            "US dollars left of the budgets of teams and providers that were asked lately",
            ["budget", "per"],
            of_all="mostrecent",
        )
        self.budget = self._gauge(
            "budget_usd", "US dollars of those budgets", ["budget", "per"], of_all="mostrecent"
        )
        self.store_down = self._gauge(
            "store_down", "1 while the store of keys and counters cannot be reached", of_all="max"
        )

    def _count_chunks(self) -> None:
        self.processed = self._counter("chunks_processed", "Events read", _BY_MODEL)
        self.failed = self._counter("chunks_failed", "Events that could not be used", _BY_MODEL)
        self.bytes = self._counter("bytes_received", "Body bytes from upstreams", _BY_MODEL)
        self.unicode = self._counter("unicode_errors", "U+FFFD put in for bad bytes", _BY_MODEL)
        self.json = self._counter("json_errors", "Events that were not JSON", _BY_MODEL)
        self.backpressure = self._counter(
            "backpressure_seconds", "Time that upstreams waited for clients", _BY_MODEL
        )

    def _count_attempts(self) -> None:
        outcomes = [*_BY_MODEL, "outcome"]
        self.upstreams_open = self._gauge("upstreams_open", "Upstream answers open", _BY_MODEL)
        self.attempts = self._counter("attempts", "Attempts by outcome", outcomes)
        self.hedges = self._counter(
            "hedges", "Second targets raced, by whether they answered first", outcomes
        )
        self.replays = self._counter(
            "replays", "Broken answers continued by another target, by outcome", outcomes
        )
        self._renewals = self._counter(
            "credential_renewals",
            "Fetches of credentials that change, by result (renewed, failed)",
            ["provider", "result"],
        )
        self.release = self._histogram(
            "release_seconds", "From the client's leaving to the upstream's close", _BY_MODEL, _RELEASE
        )
        self.target_state = self._gauge(
            "target_state",
            "Circuit of a route's target: 0 closed, 1 half-open, 2 open",
            _BY_MODEL,
            of_all="max",
        )
        self._cooling = self._gauge(
            "target_cooling_down", "1 for a target in cooldown", _BY_MODEL, of_all="max"
        )

    def _watch_process(self) -> None:
        self._tasks = self._gauge("tasks", "Tasks alive in the event loop")
        self.loop_lag = self._histogram(
            "loop_lag_seconds", "How late the event loop wakes a task that is due", [], _LAG
        )
        self._generation = self._gauge(
            "config_generation", "Number of the configuration in force, from 1", of_all="min"
        )
        self._loaded_at = self._gauge(
            "config_loaded_timestamp_seconds",
            "When the configuration in force was loaded, in Unix time",
            of_all="min",
        )
        self.reloads = self._counter(
            "config_reloads", "Attempts to load a new configuration, by result", ["result"]
        )

    def _gauge(
        self,
        name: str,
        text: str,
        labels: list[str] | None = None,
        of_all: Literal["sum", "max", "min", "mostrecent"] = "sum",
    ) -> Gauge:
        """`of_all` says what the figure of several live processes is."""
        mode: Any = f"live{of_all}"
        return Gauge(
            f"{_PREFIX}{name}", text, labels or [], registry=self.registry, multiprocess_mode=mode
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"{_PREFIX}{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(f"{_PREFIX}{name}", text, labels, buckets=buckets, registry=self.registry)

    def labels(self, record: RequestRecord | Try) -> tuple[str, str]:
        """The `provider` and `model` labels of a request: never a name that only a client knows."""
        if not record.provider or record.is_listed:
            return record.provider, record.model
        known = self._unlisted.setdefault(record.provider, {})
        label = known.get(record.model)
        if label is None:
            # A model is trusted once its provider has answered for it.
            if record.first_event_at is None or len(known) >= _MAX_UNLISTED:
                return record.provider, "other"
            label = known[record.model] = escaped(record.model)
        return record.provider, label

    def of(self, labels: tuple[str, str]) -> ModelMetrics:
        """One model's metrics, looked up once a request instead of once a figure."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = ModelMetrics(self, *labels)
        return series

    def released(self, record: RequestRecord, seconds: float) -> None:
        self.release.labels(*self.labels(record)).observe(seconds)

    def ended(self, record: RequestRecord) -> None:
        """Counts a request, once, at its end."""
        self.of(self.labels(record)).ended(record)

    def tried(self, attempt: RequestRecord, outcome: str) -> None:
        """Counts one attempt of a route's request, once, at its end."""
        self.of(self.labels(attempt)).tried(attempt, outcome)

    def renewed(self, provider: str, result: str) -> None:
        """Counts one fetch of a provider's credentials."""
        self._renewals.labels(provider, result).inc()

    def sample(self, states: Iterable[TargetReport]) -> None:
        """Sets the gauges; called now and then, in each process."""
        self._tasks.set(trio.lowlevel.current_statistics().tasks_living)
        cooling = {(state.provider, state.model) for state in states if state.until is not None}
        for labels in sorted(cooling | self._were_cooling):  # not in the order of their hashes
            self._cooling.labels(*labels).set(labels in cooling)
        self._were_cooling |= cooling

    def took_configuration(self, generation: int, at: float) -> None:
        """A configuration is in force since the Unix time `at`."""
        self._generation.set(generation)
        self._loaded_at.set(at)

    def forget_targets(self, targets: Iterable[tuple[str, str]]) -> None:
        """Drops the gauges of targets that stand in no route any more."""
        for labels in targets:
            self.target_state.labels(*labels).set(0)

    async def render(self, sample: Callable[[], None] | None = None) -> bytes:
        """The Prometheus text: the figures of this process, or the sum over all workers.

        Rendered in a thread: on the event loop a thousand series would stop every stream for tens of
        milliseconds.  Only one text is rendered at a time, after `sample` has set the gauges.  Callers
        within one second of its beginning, or from before it, share the text.
        """
        asked = math.floor(trio.current_time())
        async with self._rendering:
            if self._rendered[0] < asked:
                begun = math.floor(trio.current_time())
                if sample is not None:
                    sample()
                self._rendered = begun, await trio.to_thread.run_sync(self.text)
            return self._rendered[1]

    def text(self) -> bytes:
        if MANY_PROCESSES not in os.environ:
            return _text_of(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return _text_of(everyone)


def _text_of(registry: CollectorRegistry) -> bytes:
    try:
        return text_of(registry)
    except UnicodeEncodeError:  # one bad label must not break the whole text
        whole = CollectorRegistry()
        whole.register(_Escaped(registry))
        return text_of(whole)


class _Escaped(Collector):
    """The content of a registry, with labels escaped so that they can be encoded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={name: escaped(v) for name, v in sample.labels.items()})
                for sample in metric.samples
            ]
            yield metric


def forget_process(process_id: int) -> None:
    """A worker has ended: drops its gauges."""
    mark_process_dead(process_id)  # type: ignore[no-untyped-call]


class ModelMetrics:
    """The metrics of one model of one provider, with `gap` and the gauges already bound to it."""

    def __init__(self, metrics: Metrics, *labels: str) -> None:
        self.streams_open = metrics.streams_open.labels(*labels)
        self.upstreams_open = metrics.upstreams_open.labels(*labels)
        self.gap = metrics.gap.labels(*labels)
        self._metrics = metrics
        self._labels = labels
        self._first_event = metrics.first_event.labels(*labels)
        self._tokens_in = metrics.tokens.labels(*labels, "input")
        self._tokens_out = metrics.tokens.labels(*labels, "output")
        self._estimated_in = metrics.tokens_estimated.labels(*labels, "input")
        self._estimated_out = metrics.tokens_estimated.labels(*labels, "output")
        self._counters = [
            (counter.labels(*labels), field)
            for counter, field in (
                (metrics.processed, "chunks_processed"),
                (metrics.failed, "chunks_failed"),
                (metrics.bytes, "bytes_received"),
                (metrics.unicode, "unicode_errors"),
                (metrics.json, "json_errors"),
                (metrics.backpressure, "backpressure"),
                (metrics.tokens_cached, "cached_tokens"),
                (metrics.cost, "cost_usd"),
            )
        ]
        self._requests: dict[Outcome | None, Counter] = {}
        self._seconds: dict[Outcome | None, Histogram] = {}
        self._attempts: dict[str, Counter] = {}

    def ended(self, record: RequestRecord) -> None:
        outcome = record.outcome
        requests = self._requests.get(outcome)
        if requests is None:
            requests = self._metrics.requests.labels(*self._labels, str(outcome))
            self._requests[outcome] = requests
        requests.inc()
        if record.is_stream:
            self._stream_seconds(outcome).observe(record.duration)
        if record.first_event_after is not None:
            self._first_event.observe(record.first_event_after)
        if record.attempts and not record.is_counted_singly:
            self.tried(record, str(outcome))

    def tried(self, record: RequestRecord, outcome: str) -> None:
        attempts = self._attempts.get(outcome)
        if attempts is None:
            attempts = self._metrics.attempts.labels(*self._labels, outcome)
            self._attempts[outcome] = attempts
        attempts.inc()
        for counter, field in self._counters:
            if amount := getattr(record, field):
                counter.inc(amount)
        if record.prompt_tokens:
            (self._estimated_in if record.is_estimated else self._tokens_in).inc(record.prompt_tokens)
        if record.completion_tokens:
            into = self._estimated_out if record.is_estimated else self._tokens_out
            into.inc(record.completion_tokens)

    def _stream_seconds(self, outcome: Outcome | None) -> Histogram:
        seconds = self._seconds.get(outcome)
        if seconds is None:
            seconds = self._metrics.stream_seconds.labels(*self._labels, str(outcome))
            self._seconds[outcome] = seconds
        return seconds
