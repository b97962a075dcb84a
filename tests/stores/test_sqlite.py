"""What only the store in a file does: it stays, it is shared, it grows with the router."""

from __future__ import annotations

import sqlite3
import threading

import pytest
import trio

from tests.stores.stores import LEASE, NOW, act, attempt, key, money, opened, settled, want
from trio_router.ledger.ceilings import Level, Taken
from trio_router.ledger.queries import RowFilter
from trio_router.stores import sqlite_accounts
from trio_router.stores.interface import Batch, StoreDown
from trio_router.stores.sqlite import SQLiteStore
from trio_router.stores.sqlite_schema import MIGRATIONS


async def test_what_was_confirmed_is_there_after_a_restart(tmp_path):
    async with opened("sqlite", tmp_path) as store:
        await store.join("w1", LEASE, NOW)
        await store.add_key(key(), act())
        await store.take("w1", [want(money(100), 60)], NOW)
        row = settled("r1", charges={money(100).counter: 20}, attempts=(attempt(),))
        await store.sync(Batch("w1", 1, (row,)), LEASE, NOW)
    async with opened("sqlite", tmp_path) as store:
        assert await store.key("web") == key()
        assert await store.row("r1") == row
        assert await store.levels([money(100)], NOW) == [Level(20, 40)]


async def test_two_processes_count_as_one(tmp_path):
    """Each store has its own thread and connection, as each process has."""
    ceiling, got = money(100), []
    async with opened("sqlite", tmp_path) as one, opened("sqlite", tmp_path) as two:

        async def draw(store, name) -> None:
            answer = await store.take(name, [want(ceiling, 3)], NOW)
            got.append(isinstance(answer, Taken))

        for store, name in ((one, "w1"), (two, "w2")):
            await store.join(name, LEASE, NOW)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                store, name = ((one, "w1"), (two, "w2"))[number % 2]
                nursery.start_soon(draw, store, name)
        assert got.count(True) == 33
        assert await two.levels([ceiling], NOW) == [Level(0, 99)]


async def test_many_jobs_go_in_one_transaction_and_a_fault_is_its_own(tmp_path):
    path = str(tmp_path / "ledger.db")
    async with opened("sqlite", tmp_path) as store:
        await store.join("w1", LEASE, NOW)
        faults, levels = [], []

        async def break_it() -> None:
            try:
                await store._writer.do(lambda db: db.execute("insert into nothing values (1)"))
            except StoreDown as fault:
                faults.append(fault)

        async def take() -> None:
            levels.append(await store.take("w1", [want(money(100), 1)], NOW))

        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("begin immediate")  # so that all wait together
        async with trio.open_nursery() as nursery:
            for work in (take, break_it, take, take):
                nursery.start_soon(work)
            await trio.lowlevel.checkpoint()
            blocker.execute("commit")
        blocker.close()
        assert len(faults) == 1
        assert await store.levels([money(100)], NOW) == [Level(0, 3)]


async def test_who_no_longer_waits_does_not_undo_what_was_asked(tmp_path):
    async with opened("sqlite", tmp_path) as store:
        await store.join("w1", LEASE, NOW)
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.take("w1", [want(money(100), 7)], NOW)
        assert scope.cancelled_caught
        assert await store.levels([money(100)], NOW) == [Level(0, 7)]


async def test_a_file_that_cannot_be_made_is_a_store_that_is_down(tmp_path):
    store = SQLiteStore(str(tmp_path / "nowhere" / "ledger.db"))
    with pytest.raises(StoreDown, match="unable to open"):
        await store.open()
    with pytest.raises(StoreDown, match="not open"):
        await store.expire(NOW)
    await store.close()


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = str(tmp_path / "ledger.db")
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StoreDown, match="newer version"):
        await SQLiteStore(path).open()


async def test_an_older_file_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path, monkeypatch):
    path = "trio_router.stores.sqlite_schema.MIGRATIONS"
    async with opened("sqlite", tmp_path) as store:
        await store.add_key(key(), act())
    more = "create table later (x integer); insert into later select count(*) from keys;"
    monkeypatch.setattr(path, (*MIGRATIONS, more))
    for _ in range(2):
        async with opened("sqlite", tmp_path) as store:
            assert await store.key("web") == key()
    db = sqlite3.connect(str(tmp_path / "ledger.db"))
    assert db.execute("select x from later").fetchall() == [(1,)]
    assert db.execute("pragma user_version").fetchone() == (len(MIGRATIONS) + 1,)
    db.close()


async def test_a_migration_that_breaks_changes_nothing(tmp_path, monkeypatch):
    async with opened("sqlite", tmp_path) as store:
        await store.add_key(key(), act())
    broken = (*MIGRATIONS, "create table half (x); create table half (x);")
    monkeypatch.setattr("trio_router.stores.sqlite_schema.MIGRATIONS", broken)
    with pytest.raises(StoreDown):
        await SQLiteStore(str(tmp_path / "ledger.db")).open()
    monkeypatch.undo()
    async with opened("sqlite", tmp_path) as store:
        assert await store.key("web") == key()


async def test_no_thread_is_left(tmp_path):
    before = threading.active_count()
    async with opened("sqlite", tmp_path) as store:
        await store.rows(RowFilter())
    assert "sqlite writer" not in {thread.name for thread in threading.enumerate()}
    assert threading.active_count() <= before + 1  # trio keeps one of its own for the next work


@pytest.mark.slow
async def test_a_hundred_thousand_keys_are_found_and_listed_fast(tmp_path):
    async with opened("sqlite", tmp_path) as store:
        made = [key(f"k{number:06}", team=f"t{number % 7}") for number in range(100_000)]

        def fill(db) -> None:
            for one in made:
                sqlite_accounts.add_key(db, one, act())

        await store._writer.do(fill)
        began = trio.current_time()
        for one in made[::1000]:
            assert await store.key_of(one.hash) == one
        for one in made[::10_000]:
            assert len((await store.keys(team="t3", after=one.id)).keys) == 100
        assert trio.current_time() - began < 10  # 0.1 s; without an index it takes minutes
