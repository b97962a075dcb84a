"""What is put down of one request: its outcome, its attempts, the end of its stream."""

from __future__ import annotations

import pytest
import trio

from tests.routing.tables import TARGETS, fleet, route, table
from trio_router.config.schema import StreamConfig
from trio_router.dialects.usage import Usage
from trio_router.errors import (
    InternalError,
    NetworkError,
    Overloaded,
    RouterError,
    Truncated,
    UpstreamTimeout,
)
from trio_router.observe.metrics import Metrics
from trio_router.observe.record import Outcome, RequestRecord
from trio_router.relay.books import Books
from trio_router.relay.engine import Engine, Upstreams


class Kept:
    """Books, and what they write into."""

    def __init__(self, settings: str = TARGETS) -> None:
        self.route = route(settings)
        self.fleet = fleet(self.route)
        self.fleet.settle()
        self.engine = Engine(Metrics())
        self.record = RequestRecord("one", trio.current_time())
        self.books = Books(self.record, self.engine, Upstreams({}, self.fleet, StreamConfig()))

    def target(self, number: int = 0):
        return self.route.targets[number].target

    def state(self, name: str = "a/x"):
        return self.fleet.targets[name]

    def gauge(self, name: str, model: str = "x") -> float | None:
        labels = {"provider": "a", "model": model}
        return self.engine.metrics.registry.get_sample_value(f"trio_router_{name}", labels)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NetworkError("lost"), Outcome.UPSTREAM_ERROR),
        (UpstreamTimeout("a", "read", 3), Outcome.UPSTREAM_TIMEOUT),
        (Truncated("cut"), Outcome.TRUNCATED),
        (InternalError("oh"), Outcome.INTERNAL_ERROR),
        (Overloaded("full"), Outcome.REJECTED),
        (RouterError("no"), Outcome.REJECTED),
    ],
    ids=str,
)
async def test_what_the_client_is_told_decides_the_outcome(error, outcome):
    kept = Kept()
    kept.books.failed(error)
    kept.books.close()
    assert (kept.record.outcome, kept.record.error_code) == (outcome, error.code)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "completed"), (399, "completed"), (400, "rejected"), (503, "rejected"), (0, "rejected")],
)
async def test_without_an_error_the_status_decides(status, outcome):
    kept = Kept()
    kept.record.status = status
    kept.books.close()
    assert kept.record.outcome == outcome


async def test_the_first_cause_is_the_true_one():
    kept = Kept()
    kept.books.client_left()
    kept.books.failed(NetworkError("what follows from it"))
    kept.books.close()
    assert kept.record.outcome is Outcome.CLIENT_GONE
    kept = Kept()
    kept.books.failed(Truncated("cut"))
    kept.books.client_left()
    assert kept.record.outcome is Outcome.TRUNCATED


async def test_a_clients_leaving_is_noted_for_each_attempt_that_runs(autojump_clock):
    kept = Kept()
    running, over = RequestRecord("", 0.0), RequestRecord("", 0.0)
    kept.books.begin(kept.target(0), over)
    kept.books.begin(kept.target(1), running)
    kept.books.end(over)
    await trio.sleep(3)
    kept.books.client_left()
    now = trio.current_time()
    assert (kept.record.left_at, running.left_at, over.left_at) == (now, now, None)


class TestAttempts:
    async def test_the_latest_that_runs_is_the_requests_running_one(self):
        kept = Kept()
        first, second = RequestRecord("", 0.0), RequestRecord("", 0.0)
        kept.books.begin(kept.target(0), first)
        kept.books.begin(kept.target(1), second)
        assert (kept.record.running, kept.record.attempts) == (second, 2)
        kept.books.end(second)
        assert kept.record.running is first
        kept.books.end(first)
        assert kept.record.running is None

    async def test_an_earlier_one_that_ends_leaves_the_later_one_running(self):
        kept = Kept()
        first, second = RequestRecord("", 0.0), RequestRecord("", 0.0)
        kept.books.begin(kept.target(0), first)
        kept.books.begin(kept.target(1), second)
        kept.books.end(first)
        assert kept.record.running is second

    async def test_what_each_has_counted_adds_up(self):
        kept = Kept()
        for number in (3, 4):
            attempt = RequestRecord("", 0.0)
            kept.books.begin(kept.target(), attempt)
            attempt.bytes_received, attempt.used = number, Usage(number)
            kept.books.end(attempt)
        assert (kept.record.bytes_received, kept.record.prompt_tokens) == (7, 7)

    async def test_the_request_is_shown_at_the_target_that_is_asked_until_one_answers(self):
        kept = Kept()
        kept.books.asks_route(kept.route)
        assert (kept.record.route, kept.record.model) == ("r", "r")
        kept.books.begin(kept.target(0), RequestRecord("", 0.0))
        kept.books.begin(kept.target(1), RequestRecord("", 0.0))
        assert kept.record.provider == "b"
        kept.books.answered_by(kept.target(0), 5.0)
        kept.books.begin(kept.target(2), RequestRecord("", 0.0))
        assert (kept.record.provider, kept.record.first_event_at) == ("a", 5.0)
        kept.books.answered_by(kept.target(2), 9.0)
        assert (kept.record.provider, kept.record.first_event_at) == ("c", 5.0)

    async def test_a_provider_with_several_keys_is_no_route(self):
        text = 'providers:\n  a: {base_url: "http://a", api_keys: [k1, k2], models: {x: {}}}\n'
        kept = Kept()
        kept.books.asks_route(table(providers=text).resolve("a/x"))
        assert kept.record.route is None


class TestPlainRequests:
    async def test_its_failure_and_its_success_count_for_the_routes_of_its_target(self):
        kept = Kept(f"{TARGETS}, cooldown: {{failures: 1}}")
        kept.books.asks_target(kept.target())
        kept.books.plain_attempt(kept.target())
        kept.books.failed(NetworkError("lost"))
        assert kept.gauge("target_state") == 2
        upstreams = Upstreams({}, kept.fleet, StreamConfig())
        again = Books(RequestRecord("two", trio.current_time()), kept.engine, upstreams)
        again.asks_target(kept.target())
        again.plain_attempt(kept.target())
        again.record.status = 200
        again.close()
        assert kept.gauge("target_state") == 0

    async def test_it_fails_once_however_often_that_is_said(self):
        kept = Kept(f"{TARGETS}, cooldown: {{failures: 2}}")
        kept.books.plain_attempt(kept.target())
        for _ in range(5):
            kept.books.failed(NetworkError("lost"))
        assert kept.state().health(trio.current_time()) is None

    async def test_a_client_that_left_says_nothing_of_the_target(self):
        kept = Kept(f"{TARGETS}, cooldown: {{failures: 1}}")
        kept.books.plain_attempt(kept.target())
        kept.books.client_left()
        kept.books.close()
        assert kept.state().health(trio.current_time()) is None

    async def test_nor_does_it_close_a_circuit(self):
        kept = Kept(f"{TARGETS}, cooldown: {{failures: 1}}")
        now = trio.current_time()
        kept.state().failed(NetworkError("lost"), now, now)
        kept.books.plain_attempt(kept.target())
        kept.record.status = 200
        kept.books.client_left()
        kept.books.close()
        assert kept.state().health(now)[0] == "cooling down"

    async def test_a_target_that_stands_in_no_route_is_not_kept(self):
        kept = Kept()
        stranger = table(providers='providers: {q: {base_url: "http://q"}}').target("q/any")
        kept.books.plain_attempt(stranger)
        kept.books.failed(NetworkError("lost"))
        assert "q/any" not in kept.fleet.targets


async def test_a_stream_is_open_from_its_beginning_to_the_books_close():
    kept = Kept()
    kept.books.asks_target(kept.target())
    kept.books.stream_began()
    assert kept.gauge("streams_open") == 1
    kept.books.failed(Truncated("cut"))
    assert kept.gauge("streams_open") == 1
    kept.books.close()
    assert kept.gauge("streams_open") == 0
