"""Counters in Valkey or Redis, and a ledger in PostgreSQL, when one of them, or both, are not there."""

from __future__ import annotations

import pytest
import trio

from tests.stores import servers
from tests.stores.stores import (
    act,
    attempt,
    collect_channels,
    key,
    money,
    requests,
    reserved,
    settled,
    slots,
    want,
)
from trio_router.ledger.ceilings import Change, Level, Refused, Taken
from trio_router.ledger.rows import RowState
from trio_router.stores.interface import Batch, LeaseLost, StoreDown
from trio_router.stores.many_machines import ManyMachinesStore
from trio_router.stores.outbox import SQLiteOutbox
from trio_router.stores.postgres import PostgresStore

pytestmark = [
    pytest.mark.slow,
    # coredis leaves channels unclosed when a connection cannot be made.
    pytest.mark.filterwarnings("ignore:.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]
pytest.importorskip("coredis")
pytest.importorskip("psycopg")
LEASE = 1000.0
QUICKLY = 4.0  # s: the patience of both, one after the other
EVER = 0.0  # the worker's clock, of which nobody takes notice


@pytest.fixture(params=["keeps", "forgets"])
def redis(request):
    server = servers.RedisServer(keeps=request.param == "keeps")
    server.start()
    yield server
    server.remove()


@pytest.fixture
def forgetful():
    server = servers.RedisServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres():
    server = servers.shared(servers.PostgresServer)
    server.empty()
    return server


@pytest.fixture(autouse=True)
def _channels():
    yield
    collect_channels()


def made(redis, postgres, **more) -> ManyMachinesStore:
    return ManyMachinesStore(redis.url, PostgresStore(postgres.url, patience=1.5), patience=1.0, **more)


@pytest.fixture
async def store(redis, postgres):
    store = made(redis, postgres)
    await store.open()
    await store.join("w1", LEASE, EVER)
    yield store
    await store.close()


async def level(store, ceiling) -> Level:
    return (await store.levels([ceiling], EVER))[0]


async def again(store, do, seconds=10.0):
    """What `do` says as soon as the store is there again."""
    with trio.fail_after(seconds):
        while True:
            try:
                return await do()
            except StoreDown:
                await trio.sleep(0.05)


async def settle(store, number, cost, counter, worker="w1", id_=None):
    row = settled(
        id_ or f"r{number}", worker, cost=cost, charges={counter: cost}, attempts=(attempt(),)
    )
    return await store.sync(Batch(worker, number, (row,)), LEASE, EVER)


class TestCountersThatWereKilled:
    async def test_nothing_that_was_spent_is_lost_and_nothing_is_held_for_ever(self, store, redis):
        ceiling = money(100)
        await store.take("w1", [want(ceiling, 60)], EVER)
        await settle(store, 1, 25, ceiling.counter)
        redis.kill()
        with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
            await store.take("w1", [want(ceiling, 5)], EVER)
        redis.start()
        with pytest.raises(LeaseLost):
            await again(store, lambda: store.take("w1", [want(ceiling, 5)], EVER))
        await store.expire(EVER)
        assert await level(store, ceiling) == Level(25, 0)

    async def test_rows_reach_the_ledger_meanwhile_and_count_once_afterwards(self, store, redis):
        ceiling = money(100)
        await store.take("w1", [want(ceiling, 60)], EVER)
        redis.kill()
        with pytest.raises(StoreDown):
            await settle(store, 1, 25, ceiling.counter)
        assert (await store.row("r1")).cost == 25
        redis.start()
        await again(store, lambda: store.join("w2", LEASE, EVER))
        row = settled("r1", cost=25, charges={ceiling.counter: 25})
        await store.sync(Batch("w2", 1, (row,)), LEASE, EVER)
        await store.expire(EVER)
        assert await level(store, ceiling) == Level(25, 0)
        assert (await store.ledger.spent([ceiling.counter]))[0].amount == 25

    async def test_a_dead_workers_row_is_settled_from_the_ledger(self, store, redis):
        ceiling = money(100)
        row = reserved("r1", cost=11, charges={ceiling.counter: 11})
        await store.sync(Batch("w1", 1, (row,)), 1.0, EVER)
        redis.kill()
        redis.start()
        await again(store, lambda: store.join("w2", LEASE, EVER))
        await trio.sleep(1.1)
        ended = []
        with trio.fail_after(10):
            while not ended:
                ended = await store.expire(EVER)
                await trio.sleep(0.05)
        assert [(one.id, one.state, one.cost) for one in ended] == [("r1", RowState.EXPIRED, 11)]
        assert await level(store, ceiling) == Level(11, 0)
        assert await store.expire(EVER) == []

    async def test_what_an_older_copy_has_is_read_again(self, postgres):
        server = servers.RedisServer()
        server.start()
        store = made(server, postgres)
        try:
            ceiling = money(100)
            await store.open()
            await store.join("w1", LEASE, EVER)
            await settle(store, 1, 10, ceiling.counter)
            assert server.ask(b"SAVE") == b"+OK\r\n"
            await settle(store, 2, 30, ceiling.counter)
            server.kill()
            server.start()  # with the copy, in which 10 are spent
            await again(store, lambda: store.join("w2", LEASE, EVER))
            assert await level(store, ceiling) == Level(40, 0)
            refused = await store.take("w2", [want(ceiling, 61)], EVER)
            assert isinstance(refused, Refused)
        finally:
            await store.close()
            server.remove()

    async def test_all_that_is_emptied_is_filled_again(self, store, redis):
        ceiling = money(100)
        await settle(store, 1, 25, ceiling.counter)
        redis.ask(b"FLUSHALL")
        with pytest.raises(LeaseLost):
            await store.take("w1", [want(ceiling, 60)], EVER)
        await store.join("w2", LEASE, EVER)
        assert await level(store, ceiling) == Level(25, 0)


class TestServersThatDoNotAnswer:
    async def test_frozen_counters_are_down_quickly_and_found_again(self, store, redis):
        redis.stop()
        try:
            with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                await store.take("w1", [want(slots(3))], EVER)
        finally:
            redis.go_on()
        taken = await again(store, lambda: store.take("w1", [want(slots(3))], EVER))
        assert isinstance(taken, Taken)

    async def test_nothing_is_there_at_first_and_found_later(self, forgetful, postgres):
        forgetful.kill()
        store = made(forgetful, postgres)
        try:
            for _ in range(2):
                with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                    await store.open()
            forgetful.start()
            await again(store, store.open)
            await store.join("w1", LEASE, EVER)
        finally:
            await store.close()


class TestALedgerThatIsDown:
    @pytest.fixture
    def postgres(self):
        server = servers.PostgresServer()
        server.start()
        yield server
        server.remove()

    async def test_counters_are_exact_meanwhile_and_every_row_arrives(self, forgetful, postgres):
        store, ceiling = made(forgetful, postgres), money(100)
        try:
            await store.open()
            await store.join("w1", LEASE, EVER)
            await store.take("w1", [want(ceiling, 60)], EVER)
            postgres.kill()
            for number in (1, 2):
                with trio.fail_after(QUICKLY):
                    assert (await settle(store, number, 20, ceiling.counter)).is_alive
            assert await level(store, ceiling) == Level(40, 20)
            assert isinstance(await store.take("w1", [want(ceiling, 41)], EVER), Refused)
            with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                await store.row("r1")
            postgres.start()
            await again(store, lambda: store.row("r1"))
            await self.carried(store, ["r1", "r2"])
            assert (await store.ledger.spent([ceiling.counter]))[0].amount == 40
            assert await level(store, ceiling) == Level(40, 20)
            await store.rebuild()
            assert await level(store, ceiling) == Level(40, 20)
        finally:
            await store.close()

    async def carried(self, store, ids, worker="w1"):
        """The heartbeats go on until the ledger has the rows."""
        with trio.fail_after(20):
            for number in range(100, 1000):
                await store.sync(Batch(worker, number), LEASE, EVER)
                if all([await again(store, lambda id_=id_: store.row(id_)) for id_ in ids]):
                    return
                await trio.sleep(0.1)

    async def test_rows_of_a_dead_worker_are_carried_by_another(self, forgetful, postgres):
        dead, other, ceiling = made(forgetful, postgres), made(forgetful, postgres), money(100)
        try:
            for store in (dead, other):
                await store.open()
            await dead.join("w1", 1.0, EVER)
            await other.join("w2", LEASE, EVER)
            await other.levels([ceiling], EVER)
            postgres.kill()
            await settle(dead, 1, 20, ceiling.counter)  # and nobody hears of w1 again
            row = reserved("r2", cost=5, charges={ceiling.counter: 5})
            await dead.sync(Batch("w1", 2, (row,)), 1.0, EVER)
            await dead.close()
            postgres.start()
            with trio.fail_after(30):
                while await again(other, lambda: other.row("r1")) is None:
                    await other.expire(EVER)
                    await trio.sleep(0.2)
                while (ended := await again(other, lambda: other.row("r2"))) is None:
                    await other.expire(EVER)
                    await trio.sleep(0.2)
            assert (ended.state, ended.cost) == (RowState.EXPIRED, 5)
            assert await level(other, ceiling) == Level(25, 0)
        finally:
            await dead.close()
            await other.close()

    async def test_an_outbox_in_a_file_outlives_the_process_and_the_counters(
        self, forgetful, postgres, tmp_path
    ):
        ceiling, path = money(100), str(tmp_path / "outbox.db")
        store = made(forgetful, postgres, outbox=SQLiteOutbox(path))
        await store.open()
        await store.join("w1", LEASE, EVER)
        await store.levels([ceiling], EVER)
        postgres.kill()
        await settle(store, 1, 20, ceiling.counter)
        await store.close()
        forgetful.kill()
        forgetful.start()
        postgres.start()
        store = made(forgetful, postgres, outbox=SQLiteOutbox(path))
        try:
            await again(store, store.open)
            await store.join("w2", LEASE, EVER)
            await self.carried(store, ["r1"], "w2")
            assert await level(store, ceiling) == Level(20, 0)
        finally:
            await store.close()


class TestClocks:
    async def test_a_minute_is_the_servers_and_ticks_are_told_in_the_workers_time(
        self, forgetful, postgres
    ):
        ceiling = requests(100)
        store = made(forgetful, postgres)
        try:
            await store.open()
            for worker, here in (("early", 1000.0), ("late", 5000.0)):
                await store.join(worker, LEASE, here)
                taken = await store.take(worker, [want(ceiling, 10)], here)
                at = taken.grants[0].at
                assert abs(at * 0.02 - here - 60) < 2
                change = Change(ceiling.counter, -4, at)
                await store.sync(Batch(worker, 1, (), (change,)), LEASE, here)
            assert await level(store, ceiling) == Level(12)
        finally:
            await store.close()


class TestMachines:
    async def test_an_account_that_one_machine_changes_is_seen_by_the_other(self, forgetful, postgres):
        one, other = made(forgetful, postgres), made(forgetful, postgres)
        try:
            for store in (one, other):
                await store.open()
            before = await other.join("w2", LEASE, EVER)
            await one.add_key(key(), act())
            synced = await other.sync(Batch("w2", 1), LEASE, EVER)
            assert synced.accounts != before
        finally:
            await one.close()
            await other.close()
