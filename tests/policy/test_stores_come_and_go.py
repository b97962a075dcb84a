"""A store that is down, keys that are made while the router runs, a worker that was paused."""

from __future__ import annotations

import msgspec
import trio

from tests.policy.counted import TOKEN, at_once, budget, counted_stack, keys
from trio_router.ledger.accounts import Key, Limits, MoneyBudget, Team, hash_of
from trio_router.ledger.queries import AuditEntry, RowFilter
from trio_router.ledger.rows import RowState
from trio_router.stores.interface import StoreDown
from trio_router.stores.memory import MemoryStore

ACT = AuditEntry(0, "admin", "key.create", "x")


class Flaky(MemoryStore):
    """A store that can be switched off."""

    is_off = False

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name in ("open", "join", "take", "sync", "expire", "levels", "key_of", "keys", "team"):
            return _checked(self, found)
        return found


def _checked(store, work):
    async def do(*args, **more):
        if store.is_off:
            raise StoreDown("switched off")
        return await work(*args, **more)

    return do


class TestRefuse:
    async def test_what_has_to_be_counted_is_refused_until_the_store_is_back(self, autojump_clock):
        store = Flaky()
        async with counted_stack(keys(budget(10_000)), store=store) as s:
            assert (await s.ask()).status_code == 200
            store.is_off = True
            await trio.sleep(15)
            refused = await s.ask()
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "store_unavailable"
            assert refused.headers["retry-after"] == "1"
            store.is_off = False
            await trio.sleep(1)
            assert (await s.ask()).status_code == 200
            assert len(await s.rows()) == 2

    async def test_a_store_that_is_down_at_the_start_is_found_later(self, autojump_clock):
        store = Flaky()
        store.is_off = True
        async with counted_stack(keys(budget(10_000)), store=store) as s:
            assert (await s.ask()).status_code == 503
            store.is_off = False
            await trio.sleep(1)
            assert (await s.ask()).status_code == 200

    async def test_a_stream_that_runs_then_is_settled_later(self, autojump_clock):
        store = Flaky()
        async with counted_stack(keys(budget(100_000)), store=store) as s:

            async def go_off() -> None:
                await trio.sleep(0.5)
                store.is_off = True

            async with trio.open_nursery() as nursery:
                nursery.start_soon(go_off)
                status, told = await s.streamed("any/echo-c200-d10")
            assert (status, told[-1]) == (200, "[DONE]")
            await trio.sleep(20)
            store.is_off = False
            [row] = await s.rows()
            assert (row.state, row.cost) == (RowState.SETTLED, 200 * TOKEN)
            await trio.sleep(6)  # the name it had before is expired
            [level] = (await s.own_key())["budgets"]
            assert (level["spent_usd"], level["held_usd"]) == (200 / 1e6, 0)

    async def test_a_key_without_anything_to_count_is_served_all_the_same(self, autojump_clock):
        store = Flaky()
        store.is_off = True
        async with counted_stack(keys("models: ['any/*']"), store=store) as s:
            assert (await s.ask()).status_code == 200
            store.is_off = False
            await trio.sleep(1)
            assert len(await s.rows()) == 1


class TestAllow:
    async def test_it_is_counted_here_and_settled_later(self, autojump_clock):
        store = Flaky()
        settings = keys(budget(1000), store="store: {url: 'memory:', when_down: allow}\n")
        async with counted_stack(settings, store=store) as s:
            store.is_off = True
            codes = [(await s.ask("any/echo-c100", max_tokens=100)).status_code for _ in range(15)]
            assert codes == [200] * 10 + [429] * 5  # a local cap, as large as the budget
            store.is_off = False
            assert await s.spent() == 1000 * TOKEN
            await trio.sleep(2)
            [level] = (await s.own_key())["budgets"]
            assert level["spent_usd"] == 1000 / 1e6
            assert (await s.ask()).status_code == 429

    async def test_slots_come_back_while_the_store_is_down(self, autojump_clock):
        store = Flaky()
        store.is_off = True
        settings = keys("limits: {parallel: 2}", store="store: {url: 'memory:', when_down: allow}\n")
        async with counted_stack(settings, store=store) as s:
            for _ in range(5):
                assert (await at_once(s, 2, "any/echo-f100")) == [200, 200]


class TestPauses:
    async def test_a_worker_whose_lease_has_ended_joins_again(self, autojump_clock):
        store = Flaky()
        async with counted_stack(keys(budget(10_000)), store=store) as s:
            assert (await s.ask()).status_code == 200
            name = s.keeper.worker
            await store.leave(name, s.router.clock.wall())  # as another worker sees a paused one
            s.keeper._lease_ends = 0
            assert (await s.ask()).status_code == 200
            assert s.keeper.worker != name

    async def test_a_stream_that_was_settled_meanwhile_is_put_right(self, autojump_clock):
        store = Flaky()
        async with counted_stack(keys(budget(100_000)), store=store) as s:

            async def expire() -> None:
                await trio.sleep(1.5)
                await store.leave(s.keeper.worker, s.router.clock.wall())
                [row] = (await store.rows(RowFilter())).rows
                assert row.state is RowState.EXPIRED
                assert 0 < row.cost < 200 * TOKEN

            async with trio.open_nursery() as nursery:
                nursery.start_soon(expire)
                await s.streamed("any/echo-c200-d20")
            await trio.sleep(2)
            [row] = await s.rows()
            assert (row.state, row.cost) == (RowState.SETTLED, 200 * TOKEN)
            [level] = (await s.own_key())["budgets"]
            assert (level["spent_usd"], level["held_usd"]) == (200 / 1e6, 0)


class TestRunTimeKeys:
    MADE = Key(id="made", hash=hash_of("tr-1"), limits=Limits(requests_per_minute=2), created_at=0)

    async def test_one_that_is_made_is_good_soon_and_revoked_within_two_seconds(self, autojump_clock):
        store = MemoryStore()
        async with counted_stack(keys("tags: [a]"), store=store) as s:
            assert (await s.ask(key="tr-1")).status_code == 401
            await store.add_key(self.MADE, ACT)
            await trio.sleep(1.2)
            codes = [(await s.ask(key="tr-1")).status_code for _ in range(3)]
            assert codes == [200, 200, 429]
            assert (await s.own_key("tr-1"))["id"] == "made"
            await store.change_key(self.MADE.revoked(0), ACT)
            await trio.sleep(2)
            refused = await s.ask(key="tr-1")
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")

    async def test_the_old_secret_is_good_for_the_overlap(self, autojump_clock):
        store = MemoryStore()
        made = msgspec.structs.replace(self.MADE, limits=Limits())
        async with counted_stack(keys("tags: [a]"), store=store) as s:
            await store.add_key(made, ACT)
            await store.change_key(made.rotated(hash_of("tr-2"), s.router.clock.wall(), 60), ACT)
            await trio.sleep(1.2)
            for key in ("tr-1", "tr-2"):
                assert (await s.ask(key=key)).status_code == 200
            await trio.sleep(61)
            assert (await s.ask(key="tr-1")).status_code == 401
            assert (await s.ask(key="tr-2")).status_code == 200

    async def test_a_store_without_keys_leaves_a_router_open_and_the_first_key_closes_it(
        self, autojump_clock
    ):
        store = MemoryStore()
        async with counted_stack("store: {url: 'memory:'}", store=store) as s:
            assert (await s.ask(key="anything")).status_code == 200
            await store.add_key(self.MADE, ACT)
            await trio.sleep(1.2)
            assert (await s.ask(key="anything")).status_code == 401
            assert (await s.ask(key="tr-1")).status_code == 200

    async def test_an_unknown_key_touches_the_store_at_most_once_a_second(self, autojump_clock):
        store = MemoryStore()
        asked = []
        store_key_of = store.key_of

        async def key_of(hashed):
            asked.append(hashed)
            return await store_key_of(hashed)

        store.key_of = key_of
        async with counted_stack(keys("tags: [a]"), store=store) as s:
            await store.add_key(self.MADE, ACT)
            await trio.sleep(1.2)
            for _ in range(20):
                await s.ask(key="tr-unknown")
            assert len(asked) == 1
            await trio.sleep(1.1)
            await s.ask(key="tr-unknown")
            assert len(asked) == 2

    async def test_a_team_of_the_store_has_its_budget(self, autojump_clock):
        store = MemoryStore()
        team = Team(id="t", budgets=(MoneyBudget(100 * TOKEN, "total"),))
        async with counted_stack(keys("tags: [a]"), store=store) as s:
            await store.put_team(team, ACT)
            await store.add_key(Key(id="made", hash=hash_of("tr-1"), team="t"), ACT)
            await trio.sleep(1.2)
            codes = [
                (await s.ask("any/echo-c60", key="tr-1", max_tokens=60)).status_code for _ in range(2)
            ]
            assert codes == [200, 429]
            assert (await s.rows())[0].team == "t"
