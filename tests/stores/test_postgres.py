"""What PostgreSQL alone does: servers that are killed or frozen, older tables, odd texts."""

from __future__ import annotations

import pytest
import trio

from tests.stores import servers
from tests.stores.stores import (
    act,
    attempt,
    key,
    money,
    postgres,
    requests,
    reserved,
    settled,
    slots,
    want,
)
from trio_router.dialects.usage import Usage
from trio_router.ledger.ceilings import Level, Refused, Taken
from trio_router.ledger.queries import RowFilter
from trio_router.ledger.rows import RowState
from trio_router.stores import postgres_link, postgres_schema
from trio_router.stores.interface import Batch, LeaseLost, StoreDown
from trio_router.stores.postgres import PostgresStore

pytest.importorskip("psycopg")
LEASE = 1000.0
EVER = 0.0  # the worker's clock, of which nobody takes notice
PATIENCE = 1.5
QUICKLY = 4.0  # s: longer than libpq takes to give up a connection


@pytest.fixture
def server():
    """One that may be killed."""
    server = servers.PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def killable(server):
    store = PostgresStore(server.url, patience=PATIENCE)
    await store.open()
    await store.join("w1", LEASE, EVER)
    yield store
    await store.close()


@pytest.fixture
async def store():
    store = postgres()
    await store.open()
    yield store
    await store.close()


async def again(do, seconds=20.0):
    """What `do` says as soon as the database is there again."""
    with trio.fail_after(seconds):
        while True:
            try:
                return await do()
            except StoreDown:
                await trio.sleep(0.05)


async def level(store, ceiling) -> Level:
    return (await store.levels([ceiling], EVER))[0]


@pytest.mark.slow
class TestAServerThatIsKilled:
    async def test_what_was_confirmed_is_kept_and_it_is_found_again(self, killable, server):
        ceiling = money(100)
        await killable.take("w1", [want(ceiling, 60)], EVER)
        row = settled("r1", cost=25, charges={ceiling.counter: 25})
        await killable.sync(Batch("w1", 1, (row,)), LEASE, EVER)
        server.kill()
        for _ in range(2):
            with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                await killable.take("w1", [want(ceiling)], EVER)
            with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                await killable.row("r1")
        server.start()
        assert await again(lambda: killable.row("r1")) == row
        assert await again(lambda: level(killable, ceiling)) == Level(25, 35)

    async def test_in_mid_work_nothing_is_counted_twice_or_lost(self, killable, server):
        """Workers send each batch until it is confirmed, while the server is killed three times."""
        ceiling, rows = money(10**9), 150

        async def work(name):
            await killable.join(name, LEASE, EVER)
            for number in range(1, rows + 1):
                row = settled(f"{name}:{number}", name, cost=7, charges={ceiling.counter: 7})
                batch = Batch(name, number, (row,))
                await again(lambda batch=batch: killable.sync(batch, LEASE, EVER))

        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c", "d"):
                nursery.start_soon(work, name)
            for _ in range(3):
                await trio.sleep(0.15)
                server.kill()
                await trio.to_thread.run_sync(server.start)
        assert await level(killable, ceiling) == Level(4 * rows * 7, 0)
        [line] = await killable.spend("key", RowFilter())
        assert line.requests == 4 * rows

    async def test_it_need_not_be_there_at_first(self, server):
        server.kill()
        store = PostgresStore(server.url, patience=PATIENCE)
        try:
            with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                await store.open()
            with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                await store.join("w1", LEASE, EVER)
            server.start()
            await again(lambda: store.join("w1", LEASE, EVER))  # which makes the tables, too
        finally:
            await store.close()

    async def test_one_that_does_not_answer_is_down_quickly_and_found_again(self, killable, server):
        server.stop()
        try:
            for do in (
                lambda: killable.take("w1", [want(slots(3))], EVER),
                lambda: killable.row("r1"),
            ):
                with trio.fail_after(QUICKLY), pytest.raises(StoreDown):
                    await do()
        finally:
            server.go_on()
        taken = await again(lambda: killable.take("w1", [want(slots(3))], EVER))
        assert isinstance(taken, Taken)

    async def test_a_machine_that_pauses_in_a_transaction_holds_up_nobody_for_long(
        self, killable, server
    ):
        psycopg = pytest.importorskip("psycopg")
        told = postgres_link.conninfo(psycopg, server.url, 0.3)  # as a store of less patience has it
        with psycopg.connect(told) as paused:
            lock = postgres_schema.COUNTERS_LOCK
            paused.execute("select pg_advisory_xact_lock(%s)", (lock,))
            with trio.fail_after(QUICKLY):
                taken = await again(lambda: killable.take("w1", [want(slots(3))], EVER))
            assert isinstance(taken, Taken)
            with pytest.raises(psycopg.Error, match="idle-in-transaction"):
                paused.execute("select 1")


class TestTables:
    async def test_an_older_version_is_brought_up_to_date_and_keeps_what_it_has(self, monkeypatch):
        store = postgres()
        servers.shared(servers.PostgresServer).drop()
        monkeypatch.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:1])
        await store.open()
        await store.add_key(key(), act())
        await store.close()
        monkeypatch.undo()
        store = postgres()
        await store.open()
        try:
            assert await store.key("web") == key()
            await store.join("w1", LEASE, EVER)
            assert isinstance(await store.take("w1", [want(slots(3))], EVER), Taken)
        finally:
            await store.close()

    async def test_a_newer_version_is_left_alone(self, store, monkeypatch):
        monkeypatch.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:1])
        older = postgres()
        try:
            with pytest.raises(StoreDown, match="newer version"):
                await older.open()
        finally:
            await older.close()

    async def test_many_may_bring_it_up_to_date_at_once(self):
        stores = [postgres() for _ in range(4)]
        servers.shared(servers.PostgresServer).drop()
        async with trio.open_nursery() as nursery:
            for one in stores:
                nursery.start_soon(one.open)
        for one in stores:
            await one.close()


class TestOddTexts:
    async def test_a_nul_or_half_a_character_stops_nothing(self, store):
        odd = "a\0b\ud800"
        await store.join("w1", LEASE, EVER)
        row = settled("r1", model="a\0b", key="k\0", charges={"k\0 usd": 5}, attempts=(attempt("m\0"),))
        await store.sync(Batch("w1", 1, (row,)), LEASE, EVER)
        assert await store.row("r1") == row
        assert [one.id for one in (await store.rows(RowFilter(key="k\0"))).rows] == ["r1"]
        for look in (store.key(odd), store.key_of(odd), store.row(odd), store.team(odd)):
            assert await look is None

    async def test_as_many_tokens_as_a_provider_likes_to_tell_stop_nothing(self, store):
        await store.join("w1", LEASE, EVER)
        row = settled("r1", attempts=(attempt(used=Usage(2**63, 2**63 - 1)),))
        await store.sync(Batch("w1", 1, (row,)), LEASE, EVER)
        [line] = await store.spend("key", RowFilter())
        assert line.requests == 1


class TestTakesThatAreDoneTogether:
    async def test_one_that_comes_too_late_stops_no_other(self, store):
        await store.join("w1", LEASE, EVER)
        found = {}

        async def take(name):
            try:
                found[name] = await store.take(name, [want(slots(1))], EVER)
            except LeaseLost:
                found[name] = "lost"

        async with trio.open_nursery() as nursery:
            for name in ("stranger", "w1"):
                nursery.start_soon(take, name)
        assert found["stranger"] == "lost"
        assert isinstance(found["w1"], Taken)

    @pytest.mark.parametrize(("most_slots", "most_requests"), [(10, 200), (30, 20)])
    async def test_they_see_each_other(self, store, most_slots, most_requests):
        await store.join("w1", LEASE, EVER)
        answers = []

        async def take():
            wants = [want(slots(most_slots)), want(requests(most_requests), 2), want(money(1000), 10)]
            answers.append(await store.take("w1", wants, EVER))

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(take)
        assert sum(isinstance(one, Taken) for one in answers) == 10
        assert sum(isinstance(one, Refused) for one in answers) == 50
        levels = await store.levels([slots(30), requests(200), money(1000)], EVER)
        assert levels == [Level(0, 10), Level(20), Level(0, 100)]


async def test_rows_of_whom_nobody_knows_are_ended(store):
    """A worker whose lease had ended told of a row that goes on, and then died."""
    await store.sync(Batch("ghost", 1, (reserved("r1", "ghost", cost=3),)), LEASE, EVER)
    [ended] = await store.expire(EVER)
    assert (ended.id, ended.state, ended.cost) == ("r1", RowState.EXPIRED, 3)
