"""What a worker spends by itself: never what the store has not granted, and nothing is lost."""

from __future__ import annotations

import trio
from hypothesis import given, settings, strategies as st

from trio_router.ledger.ceilings import Ceiling, Counting, Level, Taken
from trio_router.ledger.purse import Purse
from trio_router.ledger.rows import LedgerRow, RowState
from trio_router.stores.interface import Batch
from trio_router.stores.memory import MemoryStore

NOW = 1_800_000_000.0
MONEY = Ceiling("usd", Counting.BUDGET, 10_000, "key")
SLOTS = Ceiling("parallel", Counting.PARALLEL, 20, "key")
RATE = Ceiling("requests", Counting.REQUESTS, 40, "key")
TOKENS = Ceiling("tokens", Counting.TOKENS, 5000, "key")
ALL = (MONEY, SLOTS, RATE, TOKENS)


class Worker:
    """A purse and the store that it belongs to."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self.store, self.name, self.purse = store, name, Purse()
        self.asked = self.batches = 0
        self.running: list = []

    async def begin(self, amounts, now) -> bool:
        draw = self.purse.draw(amounts, now)
        if draw.wants:
            self.asked += 1
            answer = await self.store.take(self.name, draw.wants, now)
            if not isinstance(answer, Taken):
                self.purse.refused(draw)
                return False
            self.purse.granted(draw, answer, now)
        self.running.append(draw)
        return True

    async def end(self, cost, tokens, now) -> None:
        draw = self.running.pop(0)
        charges = {MONEY.counter: cost}
        self.purse.ended([draw], charges, {TOKENS.counter: tokens}, now)
        id_ = f"{self.name}:{self.batches}"
        row = LedgerRow(id_, self.name, RowState.SETTLED, now, cost=cost, charges=charges)
        await self.sync(now, (row,))

    async def sync(self, now, rows=()) -> None:
        self.batches += 1
        batch = Batch(self.name, self.batches, rows, self.purse.changes())
        assert (await self.store.sync(batch, 1e6, now)).is_alive


async def workers(*names: str) -> list[Worker]:
    store = MemoryStore()
    for name in names:
        await store.join(name, 1e6, NOW)
    return [Worker(store, name) for name in names]


class TestASlice:
    async def test_a_request_within_its_slice_asks_nobody(self):
        [one] = await workers("w1")
        for _ in range(9):
            assert await one.begin([(MONEY, 10), (SLOTS, 1), (RATE, 1)], NOW)
            await one.end(10, 0, NOW)
        assert one.asked <= 4

    async def test_near_the_ceiling_what_is_free_goes_back_at_once(self):
        [one] = await workers("w1")
        for _ in range(20):
            assert await one.begin([(SLOTS, 1)], NOW)
        assert not await one.begin([(SLOTS, 1)], NOW)
        await one.end(0, 0, NOW)
        assert await one.store.levels([SLOTS], NOW) == [Level(0, 19)]

    async def test_what_nobody_uses_goes_back(self):
        [one] = await workers("w1")
        await one.begin([(MONEY, 10)], NOW)
        await one.end(10, 0, NOW)
        assert (await one.store.levels([MONEY], NOW))[0].held > 0
        one.purse.tidy(NOW + 1)  # used since the last time
        one.purse.tidy(NOW + 2)
        await one.sync(NOW + 2)
        assert await one.store.levels([MONEY], NOW + 2) == [Level(10, 0)]
        assert one.purse.pocket(MONEY.counter) is None

    async def test_an_old_slice_of_a_minute_goes_back_unused(self):
        [one] = await workers("w1")
        await one.begin([(RATE, 1)], NOW)
        assert (await one.store.levels([RATE], NOW))[0].used > 1
        await one.begin([(RATE, 1)], NOW + 3)
        one.purse.tidy(NOW + 3)
        await one.sync(NOW + 3)
        asked = one.asked
        assert asked == 2  # the slice could not be used any more
        slices = one.purse.pocket(RATE.counter).slices
        assert (await one.store.levels([RATE], NOW + 3))[0].used == 2 + slices[0][0]

    async def test_after_the_lease_nothing_of_it_is_used_or_given_back(self):
        [one] = await workers("w1")
        await one.begin([(MONEY, 10)], NOW)
        one.purse.reset()
        one.purse.ended(one.running, {MONEY.counter: 5}, {}, NOW)
        assert one.purse.changes() == ()
        assert one.purse.draw([(MONEY, 10)], NOW).wants[0].amount == 10


class TestTokens:
    async def test_they_are_put_right_when_the_answer_has_ended(self):
        [one] = await workers("w1")
        await one.begin([(TOKENS, 4000)], NOW)
        await one.end(0, 300, NOW + 1)
        assert (await one.store.levels([TOKENS], NOW + 1))[0].used == 300
        await one.begin([(TOKENS, 100)], NOW + 1)
        await one.end(0, 900, NOW + 2)
        slices = one.purse.pocket(TOKENS.counter).slices
        ahead = sum(left for left, _, _ in slices)
        assert (await one.store.levels([TOKENS], NOW + 2))[0].used == 1200 + ahead


asks = st.tuples(
    st.just("begin"),
    st.integers(0, 2),
    st.fixed_dictionaries(
        {},
        optional={MONEY: st.integers(0, 3000), SLOTS: st.just(1), RATE: st.just(1)},
    ),
)
ends = st.tuples(st.just("end"), st.integers(0, 2), st.integers(0, 100))
waits = st.tuples(st.just("wait"), st.sampled_from([0.01, 0.7, 1, 2.5, 20]), st.none())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(asks, asks, ends, waits), max_size=80))
def test_no_ceiling_is_ever_exceeded_and_nothing_is_lost(steps):
    """Three workers with slices share a store.  Costs are at most what was held."""

    async def run() -> None:
        crew = await workers("w1", "w2", "w3")
        now, begun, spent = NOW, [], 0
        for what, who, more in steps:
            if what == "wait":
                now += who
                for one in crew:
                    one.purse.tidy(now)
                    await one.sync(now)
            elif what == "begin":
                if await crew[who].begin(list(more.items()), now) and RATE in more:
                    begun.append(now)
            elif crew[who].running:
                held = sum(p.amount for p in crew[who].running[0].parts if p.ceiling is MONEY)
                cost = held * more // 100
                spent += cost
                await crew[who].end(cost, 0, now)
            in_use = [part for one in crew for draw in one.running for part in draw.parts]
            assert spent + sum(p.amount for p in in_use if p.ceiling is MONEY) <= MONEY.most
            assert sum(1 for p in in_use if p.ceiling is SLOTS) <= SLOTS.most
            assert all(sum(1 for at in begun if s <= at < s + 60) <= RATE.most for s in begun)
        for one in crew:
            while one.running:
                await one.end(0, 0, now)
            for _ in range(2):
                one.purse.tidy(now)
            await one.sync(now)
        assert await crew[0].store.levels([MONEY, SLOTS], now) == [Level(spent, 0), Level(0, 0)]
        [rate] = await crew[0].store.levels([RATE], now)
        fewest, most = (sum(1 for at in begun if now - at < age) for age in (60, 60.1))
        assert fewest <= rate.used - _ahead(crew) <= most

    trio.run(run)


def _ahead(crew) -> int:
    pockets = [one.purse.pocket(RATE.counter) for one in crew]
    return sum(left for p in pockets if p is not None for left, _, _ in p.slices)
