"""What is seen of the router while it runs, under a clock that the tests move."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from trio_router.clock.clock import SYSTEM
from trio_router.config.file import parse_config
from trio_router.errors import NetworkError
from trio_router.observe.metrics import Metrics
from trio_router.observe.record import Outcome, RequestRecord
from trio_router.relay.engine import Engine
from trio_router.runtime.clients import SharedClients
from trio_router.runtime.generation import prepare, succeed
from trio_router.runtime.observation import Observation, target_reports

TEXT = """
providers: {a: {base_url: "http://a", models: {x: {}, y: {}}}}
routes: {r: {targets: [{model: a/x}, {model: a/y}]}}
"""
EPOCH = 1_000_002.0  # two seconds into a slot of five


class Tracing:
    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.over: list[RequestRecord] = []

    def begin(self, record, traceparent, tracestate) -> bytes:
        self.begun.append(traceparent)
        record.span = object()
        return b"traceparent: ours\r\n"

    def ended(self, record, base_url) -> None:
        self.over.append(record)


class Request:
    def __init__(self, record: RequestRecord) -> None:
        self.record = record

    def abort(self, error, outcome) -> None:
        raise AssertionError("nobody ends it")


def observed() -> tuple[Engine, Observation]:
    began = trio.current_time()
    clock = replace(SYSTEM, wall=lambda: EPOCH + trio.current_time() - began)
    engine = Engine(Metrics(), clock)
    return engine, Observation(engine)


def generation():
    return succeed(prepare(parse_config(TEXT, {}), SYSTEM, tuple), None, SharedClients(), 1)


def ended(name: str = "one") -> RequestRecord:
    record = RequestRecord(name, trio.current_time(), provider="a", model="x", is_listed=True)
    record.outcome, record.status, record.ended_at = Outcome.COMPLETED, 200, trio.current_time()
    return record


async def test_an_ended_request_reaches_metrics_history_and_log_once(caplog, autojump_clock):
    engine, observation = observed()
    request = Request(ended())
    engine.began(request)
    with caplog.at_level("INFO", "trio_router"):
        engine.booked(request)
    labels = {"provider": "a", "model": "x", "outcome": "completed"}
    assert engine.metrics.registry.get_sample_value("trio_router_requests_total", labels) == 1
    slots = [figures for slot in observation.history.slots for figures in slot.series.values()]
    assert sum(figures.ended for figures in slots) == 1
    assert [line.getMessage() for line in caplog.records] == ["request"]


class TestTraces:
    async def test_without_tracing_a_clients_trace_is_passed_on_as_it_is(self):
        _, observation = observed()
        record = ended()
        parent = b"00-%b-%b-01" % (b"4b" * 16, b"a3" * 8)
        observation.trace(record, {b"traceparent": parent, b"tracestate": b"a=b"})
        assert record.trace_headers == b"traceparent: %b\r\ntracestate: a=b\r\n" % parent

    async def test_without_tracing_and_without_a_trace_nothing_is_said(self):
        _, observation = observed()
        record = ended()
        observation.trace(record, {})
        assert record.trace_headers == b""

    async def test_a_span_is_begun_with_the_clients_trace_and_ended_with_the_request(self):
        engine, observation = observed()
        observation.tracing = tracing = Tracing()
        request = Request(ended())
        observation.trace(request.record, {b"traceparent": b"00-theirs"})
        assert tracing.begun == [b"00-theirs"]
        assert request.record.trace_headers == b"traceparent: ours\r\n"
        engine.began(request)
        engine.booked(request)
        assert tracing.over == [request.record]

    async def test_a_request_without_a_span_ends_none(self):
        engine, observation = observed()
        observation.tracing = tracing = Tracing()
        request = Request(ended())
        engine.began(request)
        engine.booked(request)
        assert tracing.over == []


async def test_waiting_for_a_slot_ends_where_the_next_one_begins(autojump_clock):
    _, observation = observed()
    began = trio.current_time()
    await observation.wait_for_slot()
    assert trio.current_time() - began == pytest.approx(3.0)
    await observation.wait_for_slot()
    assert trio.current_time() - began == pytest.approx(8.0)


async def test_a_sample_notes_who_runs_and_which_targets_rest(autojump_clock):
    engine, observation = observed()
    made = generation()
    record = RequestRecord("one", trio.current_time(), provider="a", model="x", is_listed=True)
    engine.began(Request(record))
    made.upstreams.fleet.targets["a/y"].rest.ask(trio.current_time(), 60.0)
    await observation.sample(made)
    slots = [figures for slot in observation.history.slots for figures in slot.series.values()]
    assert sum(figures.open for figures in slots) == 1
    labels = {"provider": "a", "model": "y"}
    value = engine.metrics.registry.get_sample_value("trio_router_target_cooling_down", labels)
    assert value == 1


async def test_a_healthy_target_is_not_reported_and_an_unhealthy_one_says_why(autojump_clock):
    made = generation()
    assert target_reports(made) == []
    state, policy = made.upstreams.fleet.targets["a/x"], made.table.routes["r"].policy
    made.upstreams.fleet.settle()
    for _ in range(policy.cooldown.failures):
        state.failed(NetworkError("lost"), trio.current_time(), trio.current_time())
    (report,) = target_reports(made)
    assert (report.provider, report.model, report.state) == ("a", "x", "cooling down")
    assert report.reason == "provider_network_error"
    assert report.until == trio.current_time() + policy.cooldown.base
    await trio.sleep(policy.cooldown.base)
    assert [one.state for one in target_reports(made)] == ["on trial"]


async def test_the_event_loops_lag_is_noted_as_long_as_it_is_watched(autojump_clock):
    engine, observation = observed()
    with trio.move_on_after(1.1):
        await observation.watch_lag()
    counted = engine.metrics.registry.get_sample_value("trio_router_loop_lag_seconds_count")
    assert counted == 4
