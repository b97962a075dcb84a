"""What all exchanges share: who is under way, who is told of an end, and when nothing runs."""

from __future__ import annotations

import logging

import trio
import trio.testing

from tests.routing.tables import fleet, route
from trio_router.config.schema import StreamConfig
from trio_router.observe.metrics import Metrics
from trio_router.observe.record import RequestRecord
from trio_router.relay.engine import Engine, Upstreams


class Request:
    def __init__(self, name: str = "one") -> None:
        self.record = RequestRecord(name, 0.0)

    def abort(self, error, outcome) -> None:
        raise AssertionError("nobody ends it")


def engine_with(*consumers) -> Engine:
    engine = Engine(Metrics())
    engine.consumers += consumers
    return engine


def gauge(engine: Engine, name: str, **labels: str) -> float | None:
    return engine.metrics.registry.get_sample_value(f"trio_router_{name}", labels)


def test_each_consumer_is_told_of_each_end_once_in_their_order():
    told = []
    engine = engine_with(lambda r: told.append(("a", r)), lambda r: told.append(("b", r)))
    request = Request()
    engine.began(request)
    assert told == []
    engine.booked(request)
    assert told == [("a", request.record), ("b", request.record)]
    assert not engine.running


def test_a_consumer_that_fails_keeps_nobody_else_from_being_told(caplog):
    def breaks(record):
        raise ZeroDivisionError

    told = []
    engine = engine_with(breaks, told.append)
    request = Request()
    engine.began(request)
    with caplog.at_level(logging.ERROR, "trio_router"):
        engine.booked(request)
    assert told == [request.record]
    assert "a request could not be booked" in caplog.text
    assert not engine.running


def test_a_request_counts_as_open_from_its_beginning():
    engine = engine_with()
    for name in ("one", "two"):
        engine.began(Request(name))
    assert gauge(engine, "requests_open") == 2
    assert len(engine.running) == 2


def test_numbers_do_not_repeat():
    engine = engine_with()
    assert [engine.next_number() for _ in range(3)] == [1, 2, 3]


async def test_waiting_for_the_end_lasts_until_the_last_request_is_booked(autojump_clock):
    engine = engine_with()
    first, second = Request("first"), Request("second")
    engine.began(first)
    engine.began(second)
    ended = []
    async with trio.open_nursery() as nursery:

        async def waits() -> None:
            await engine.wait_idle()
            ended.append(trio.current_time())

        nursery.start_soon(waits)
        nursery.start_soon(waits)
        await trio.testing.wait_all_tasks_blocked()
        engine.booked(first)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        engine.booked(second)
    assert len(ended) == 2
    await engine.wait_idle()  # nothing runs: it does not wait


async def test_who_comes_just_as_the_last_one_ends_is_waited_for_too(autojump_clock):
    engine = engine_with()
    first, second = Request("first"), Request("second")
    engine.began(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.wait_idle)
        await trio.testing.wait_all_tasks_blocked()
        engine.booked(first)
        engine.began(second)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        engine.began(first)
        engine.booked(second)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        engine.booked(first)


def test_a_configurations_upstreams_tell_each_time_the_last_user_leaves():
    told = []
    upstreams = Upstreams({}, fleet(), StreamConfig())
    upstreams.enter()
    upstreams.leave()  # nobody wants to know yet
    upstreams.on_unused = lambda: told.append(upstreams.users)
    upstreams.enter()
    upstreams.enter()
    upstreams.leave()
    assert told == []
    upstreams.leave()
    assert told == [0]


async def test_the_state_of_a_routes_target_is_shown_and_of_a_stranger_nothing():
    engine, plain = engine_with(), route()
    known = fleet(plain)
    circuit = known.targets["a/x"].circuit(plain.policy.cooldown)
    now = trio.current_time()
    for _ in range(plain.policy.cooldown.failures):
        circuit.failed(now)
    engine.show_state(known, "a", "x")
    engine.show_state(known, "a", "made-up")
    assert gauge(engine, "target_state", provider="a", model="x") == 2
    assert gauge(engine, "target_state", provider="a", model="made-up") is None
