"""One task rings all alarms, each at its own time, however often it was moved."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from trio_router.clock.alarms import AlarmClock


def running(nursery: trio.Nursery) -> AlarmClock:
    clock = AlarmClock()
    nursery.start_soon(clock.run)
    return clock


class Rung:
    def __init__(self, clock: AlarmClock) -> None:
        self.at: list[float] = []
        self.alarm = clock.alarm(lambda: self.at.append(trio.current_time()))


async def test_an_alarm_rings_once_at_its_time(nursery, autojump_clock):
    clock = running(nursery)
    rung = Rung(clock)
    start = trio.current_time()
    rung.alarm.set(start + 5)
    await trio.sleep(100)
    assert rung.at == [start + 5]


async def test_an_alarm_that_is_put_off_rings_at_its_last_time_alone(nursery, autojump_clock):
    clock = running(nursery)
    rung = Rung(clock)
    start = trio.current_time()
    for moment in (5, 8, 30):
        rung.alarm.set(start + moment)
    await trio.sleep(100)
    assert rung.at == [start + 30]


async def test_an_alarm_can_be_set_to_an_earlier_time(nursery, autojump_clock):
    clock = running(nursery)
    late, early = Rung(clock), Rung(clock)
    start = trio.current_time()
    late.alarm.set(start + 50)
    early.alarm.set(start + 60)
    early.alarm.set(start + 10)
    await trio.sleep(100)
    assert (late.at, early.at) == ([start + 50], [start + 10])


async def test_a_stopped_alarm_is_silent_and_keeps_nothing(nursery, autojump_clock):
    clock = running(nursery)
    rung = Rung(clock)
    rung.alarm.set(trio.current_time() + 5)
    rung.alarm.stop()
    assert rung.alarm.ring is None
    await trio.sleep(100)
    assert rung.at == []


async def test_an_alarm_may_set_itself_again_when_it_rings(nursery, autojump_clock):
    clock = running(nursery)
    times: list[float] = []

    def ring() -> None:
        times.append(trio.current_time())
        alarm.set(trio.current_time() + 15)

    alarm = clock.alarm(ring)
    start = trio.current_time()
    alarm.set(start + 15)
    await trio.sleep(50)
    alarm.stop()
    assert times == [start + 15, start + 30, start + 45]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(1, 40)), max_size=30))
def test_each_rings_when_a_task_of_its_own_would_have(moves):
    """Against the plainest model: the last time an alarm was set to, unless it was moved before."""

    async def main() -> None:
        clock = AlarmClock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.run)
            rung = [Rung(clock) for _ in range(5)]
            expected: list[list[float]] = [[] for _ in range(5)]
            due = [math.inf] * 5
            for which, wait, delay in moves:
                await trio.sleep(wait + 0.501)  # never at the very moment at which one rings
                for i in range(5):
                    if due[i] < trio.current_time():
                        expected[i].append(due[i])
                        due[i] = math.inf
                due[which] = trio.current_time() + delay
                rung[which].alarm.set(due[which])
            await trio.sleep(100)
            for i in range(5):
                if due[i] < math.inf:
                    expected[i].append(due[i])
            assert [r.at for r in rung] == [pytest.approx(times) for times in expected]
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_an_alarm_that_fails_is_logged_and_the_others_ring(nursery, autojump_clock, caplog):
    clock = running(nursery)
    start = trio.current_time()
    clock.alarm(lambda: [][1]).set(start + 5)
    rung = Rung(clock)
    rung.alarm.set(start + 6)
    await trio.sleep(10)
    assert rung.at == [start + 6]
    assert "an alarm failed" in caplog.text


async def test_alarms_that_were_stopped_do_not_wait_to_be_due(nursery, autojump_clock):
    clock = running(nursery)
    rung = Rung(clock)
    start = trio.current_time()
    rung.alarm.set(start + 50)
    for _ in range(10_000):
        alarm = clock.alarm(lambda: None)
        alarm.set(start + 40)
        alarm.stop()
        alarm.stop()
        alarm.set(start + 30)
    assert clock.queued <= 1002
    await trio.sleep(100)
    assert rung.at == [start + 50]
    assert clock.queued == 0
