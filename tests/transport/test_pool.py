"""Slots and idle connections, without any network."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from trio_router.transport.pool import Pool, PoolClosed


class Thing:
    def __init__(self, key="a"):
        self.key = key
        self.quiet = True
        self.closed = False

    def is_quiet(self):
        return self.quiet

    def close(self):
        self.closed = True


def make(pool, key="a"):
    available, connection = pool.take(key)
    assert available
    assert connection is None
    thing = Thing(key)
    pool.adopt(thing)
    return thing


async def test_an_idle_connection_is_taken_again_last_used_first():
    pool = Pool(None, 10, 30)
    first, second = make(pool), make(pool)
    pool.give_back(first)
    pool.give_back(second)
    assert (pool.open, pool.idle) == (2, 2)
    assert pool.take("a") == (True, second)
    assert pool.take("a") == (True, first)
    assert (pool.open, pool.idle) == (2, 0)


async def test_connections_of_another_key_are_not_taken():
    pool = Pool(None, 10, 30)
    pool.give_back(make(pool, "a"))
    assert pool.take("b") == (True, None)
    assert pool.idle == 1


async def test_a_connection_that_is_not_quiet_is_closed_and_the_next_taken():
    pool = Pool(None, 10, 30)
    good, bad = make(pool), make(pool)
    pool.give_back(good)
    pool.give_back(bad)
    bad.quiet = False
    assert pool.take("a") == (True, good)
    assert bad.closed
    assert pool.open == 1


async def test_idle_connections_expire_also_those_nobody_asks_for(autojump_clock):
    pool = Pool(None, 10, 30)
    things = [make(pool, key) for key in "abc"]
    for thing in things:
        pool.give_back(thing)
    await trio.sleep(29)
    assert pool.take("a") == (True, things[0])
    await trio.sleep(2)
    assert pool.take("z") == (True, None)
    assert [thing.closed for thing in things] == [False, True, True]
    assert (pool.open, pool.idle) == (2, 0)


async def test_no_expired_connection_is_taken_however_many_there_are(autojump_clock):
    pool = Pool(None, 100, 30)
    things = [make(pool) for _ in range(50)]
    for thing in things:
        pool.give_back(thing)
    await trio.sleep(31)
    assert pool.take("a") == (True, None)
    assert all(thing.closed for thing in things)
    assert pool.open == 1


async def test_no_more_than_max_keepalive_stay_idle_and_the_oldest_goes():
    pool = Pool(None, 2, 30)
    things = [make(pool) for _ in range(3)]
    for thing in things:
        pool.give_back(thing)
    assert [thing.closed for thing in things] == [True, False, False]
    assert (pool.open, pool.idle) == (2, 2)


async def test_with_no_keepalive_every_connection_is_closed():
    pool = Pool(None, 0, 30)
    thing = make(pool)
    pool.give_back(thing)
    assert thing.closed
    assert (pool.open, pool.idle) == (0, 0)


async def test_an_idle_connection_makes_room_for_another_key():
    pool = Pool(1, 10, 30)
    thing = make(pool, "a")
    pool.give_back(thing)
    make(pool, "b")
    assert thing.closed
    assert pool.open == 1


async def start_waiting(nursery, pool, key, served, name):
    async def wait():
        served.append((name, await pool.wait(key)))

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()


async def test_who_waits_is_served_in_order_and_gets_a_fitting_connection(nursery):
    pool = Pool(1, 10, 30)
    thing = make(pool, "a")
    served = []
    for name, key in enumerate("aba"):
        assert pool.take(key) == (False, None)
        await start_waiting(nursery, pool, key, served, name)
    pool.give_back(thing)
    assert pool.take("a") == (False, None), "nobody overtakes"
    await trio.testing.wait_all_tasks_blocked()
    assert served == [(0, thing)]
    pool.give_back(thing)
    await trio.testing.wait_all_tasks_blocked()
    assert served[1:] == [(1, None)]
    assert thing.closed
    pool.release_slot()
    await trio.testing.wait_all_tasks_blocked()
    assert served[2:] == [(2, None)]
    pool.release_slot()
    assert pool.open == 0


async def test_who_gives_up_waiting_is_passed_over(nursery):
    pool = Pool(1, 10, 30)
    thing = make(pool)
    served = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            await start_waiting(inner, pool, "a", served, "gives up")
            await start_waiting(nursery, pool, "a", served, "stays")
            scope.cancel()
    pool.discard(thing)
    await trio.testing.wait_all_tasks_blocked()
    assert served == [("stays", None)]
    assert pool.open == 1


async def test_a_slot_given_in_the_moment_of_cancel_is_not_lost():
    pool = Pool(1, 10, 30)
    thing = make(pool)
    served = []
    async with trio.open_nursery() as inner:
        await start_waiting(inner, pool, "a", served, 1)
        pool.discard(thing)
        inner.cancel_scope.cancel()
    assert served == [(1, None)], "it was served: the slot is now its own"
    pool.release_slot()
    assert pool.open == 0


@pytest.mark.parametrize("key", ["a", "b"])
@pytest.mark.parametrize("give", [Pool.give_back, Pool.discard])
async def test_a_slot_given_just_after_the_cancel_goes_to_the_next(nursery, give, key):
    pool = Pool(1, 10, 30)
    thing = make(pool, key)
    served = []
    async with trio.open_nursery() as inner:
        await start_waiting(inner, pool, "a", served, "cancelled")
        await start_waiting(nursery, pool, "a", served, "next")
        inner.cancel_scope.cancel()
        give(pool, thing)
    await trio.testing.wait_all_tasks_blocked()
    assert served == [("next", thing if give is Pool.give_back and key == "a" else None)]
    assert pool.open == 1


async def test_closing_closes_all_and_turns_away_who_waits_or_comes(nursery):
    pool = Pool(2, 10, 30)
    busy, other = make(pool, "a"), make(pool, "a")
    turned_away = []

    async def wait():
        with pytest.raises(PoolClosed):
            await pool.wait("a")
        turned_away.append(True)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    pool.close()
    await trio.testing.wait_all_tasks_blocked()
    assert turned_away
    assert busy.closed
    with pytest.raises(PoolClosed):
        pool.take("a")
    pool.give_back(busy)
    pool.discard(other)
    assert (pool.open, pool.idle) == (0, 0)


async def test_a_connection_opened_while_the_pool_was_closed_is_closed():
    pool = Pool(None, 10, 30)
    pool.take("a")
    pool.close()
    late = Thing()
    with pytest.raises(PoolClosed):
        pool.adopt(late)
    assert late.closed
    pool.release_slot()
    assert pool.open == 0


def cost_of_cycle(idle, waiting, cycles=3000):
    """CPU seconds of taking and giving back, with many others idle or waiting."""

    async def main():
        pool = Pool(None, 100_000, 1e9)
        for i in range(idle):
            make(pool, i)
        for thing in list(pool._busy):
            pool.give_back(thing)
        limited = Pool(1, 10, 30)
        held = make(limited)
        async with trio.open_nursery() as nursery:
            for _ in range(waiting):
                nursery.start_soon(limited.wait, "a")
            await trio.testing.wait_all_tasks_blocked()
            pool.give_back(make(pool, "x"))
            start = time.process_time()
            for _ in range(cycles):
                pool.give_back(pool.take("x")[1])
            for _ in range(min(waiting, cycles)):
                limited.release_slot()
            spent = time.process_time() - start
            nursery.cancel_scope.cancel()
        held.close()
        return spent

    return trio.run(main)


@pytest.mark.slow
def test_the_cost_does_not_grow_with_the_connections():
    few = min(cost_of_cycle(10, 3000) for _ in range(3))
    many = min(cost_of_cycle(5000, 6000) for _ in range(3))
    assert many < 4 * few
