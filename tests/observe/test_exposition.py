"""The text of a scrape is the one that prometheus-client would write."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trio_router.observe.exposition import text_of
from trio_router.observe.metrics import Metrics

ODD = ("plain", 'a "quoted" one', "back\\slash", "two\nlines", "モデル", "", "a,b={}")
VALUES = (0.0, 1.0, 0.1, 1e-9, 123456.0, 1234567.0, 1.5e17, float("inf"), float("-inf"), float("nan"))


def test_it_is_that_of_prometheus_client_for_every_kind_label_and_value():
    registry = CollectorRegistry()
    counter = Counter("c", 'Counts, "so"\\\nof two lines', ["model", "a_label"], registry=registry)
    gauge = Gauge("g", "A gauge", ["value"], registry=registry)
    histogram = Histogram("h", "Seconds", ["model"], buckets=(0.1, 1, 60), registry=registry)
    Gauge("alone", "Without labels", registry=registry).set(3)
    Counter("never", "Without samples", ["model"], registry=registry)
    for place, label in enumerate(ODD):
        counter.labels(label, "z").inc(place)
        histogram.labels(label).observe(place / 2)
    for value in VALUES:
        gauge.labels(str(value)).set(value)
    assert text_of(registry) == generate_latest(registry)


def test_it_is_that_of_prometheus_client_for_a_router():
    metrics = Metrics()
    metrics.of(("p", "m"))
    metrics.took_configuration(3, 1_900_000_000.25)
    assert text_of(metrics.registry) == generate_latest(metrics.registry)


def test_a_label_that_cannot_be_encoded_raises_what_prometheus_client_raises():
    registry = CollectorRegistry()
    Gauge("g", "A gauge", ["model"], registry=registry).labels("\ud800").set(1)
    with pytest.raises(UnicodeEncodeError):
        text_of(registry)


async def test_the_order_of_series_is_that_of_their_names_and_not_of_their_hashes():
    metrics = Metrics()
    states = [SimpleNamespace(provider="p", model=f"m{n}", until=1.0) for n in (5, 3, 8, 1, 9, 2, 7, 4)]
    metrics.sample(states)
    lines = [line for line in metrics.text().splitlines() if b"cooling_down{" in line]
    assert len(lines) == 8
    assert lines == sorted(lines)
