"""Several workers share a store, by seed: they die and pause, clocks differ, the store goes away.

No ceiling is ever exceeded by what the workers that are alive do.  A worker that was paused longer than
its lease, or has died, is counted apart: what it ran was settled at what was known.
"""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from trio_router.ledger.ceilings import Ceiling, Counting, Level
from trio_router.ledger.queries import RowFilter
from trio_router.ledger.rows import LedgerRow, RowState
from trio_router.stores.interface import StoreDown
from trio_router.stores.keeper import LEASE, CeilingReached, Keeper
from trio_router.stores.memory import MemoryStore

MONEY = Ceiling("usd", Counting.BUDGET, 3000, "key")
SLOTS = Ceiling("parallel", Counting.PARALLEL, 12, "key")
RATE = Ceiling("requests", Counting.REQUESTS, 60, "key")
BEGIN = 1_800_000_000.0
UNTOLD = 1.5  # s in which what has ended may not have been told to the store
LATENCY = 0.2  # s that may pass between the store's count and the worker's


class SharedStore(MemoryStore):
    """Has a clock of its own, takes time, and is away now and then."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.is_away = False
        self._chance = chance

    async def _come(self) -> float:
        await trio.sleep(self._chance.random() * 0.05)
        if self.is_away:
            raise StoreDown("away")
        return BEGIN + trio.current_time()

    async def join(self, worker, lease, now):
        return await super().join(worker, lease, await self._come())

    async def take(self, worker, wants, now):
        return await super().take(worker, wants, await self._come())

    async def sync(self, batch, lease, now):
        synced = await super().sync(batch, lease, await self._come())
        await self._come()  # the answer may be lost
        return synced

    async def expire(self, now):
        return await super().expire(await self._come())


class Seat:
    """A worker, and what it really does."""

    def __init__(self, world: Crowd, number: int) -> None:
        self.world = world
        self.skew = world.chance.uniform(-2, 2)
        self.keeper = Keeper(
            world.store,
            allows_when_down=False,
            wall=lambda: BEGIN + trio.current_time() + self.skew,
            token=world.chance.randbytes,
        )
        self.running: dict[str, tuple[int, bool]] = {}  # row -> what is held for it, has a slot
        self.ended: list[tuple[float, int]] = []
        self.awake = trio.Event()
        self.awake.set()
        self.silent_since: float | None = None

    @property
    def at_risk(self) -> int:
        """What the store may not learn if the worker is gone now: what runs, and what was not told."""
        untold = sum(cost for at, cost in self.ended if at > trio.current_time() - UNTOLD)
        return untold + sum(hold for hold, _ in self.running.values())

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.keeper.run)
                task_status.started()
                for _ in range(4):
                    nursery.start_soon(self.ask_on)

    async def ask_on(self) -> None:
        chance = self.world.chance
        while True:
            await trio.sleep(chance.expovariate(2))
            await self.awake.wait()
            hold = chance.randrange(1, 80)
            amounts = [(MONEY, hold), (SLOTS, 1), (RATE, 1)]
            try:
                draw = await self.keeper.draw(amounts)
            except (CeilingReached, StoreDown):
                continue
            await self.serve(draw, hold)

    async def serve(self, draw, hold: int) -> None:
        chance, keeper = self.world.chance, self.keeper
        name, worker, began = keeper.next_id(), keeper.worker, trio.current_time()
        self.world.begun.append(began)
        self.running[name] = hold, True
        if self.world.is_long_away:  # out of a slice, whose lease ends before the store is back
            self.world.lost += hold
        self.world.check()
        row = LedgerRow(name, worker, RowState.RESERVED, BEGIN + began)
        keeper.note(row)
        await trio.sleep(chance.expovariate(1))
        await self.awake.wait()
        cost = chance.randrange(hold + 1)
        self.world.paid += cost
        self.ended.append((trio.current_time(), cost))
        del self.running[name]
        charges = {MONEY.counter: cost}
        row = LedgerRow(name, worker, RowState.SETTLED, BEGIN + began, cost=cost, charges=charges)
        keeper.end([draw], row, charges, {})


class Crowd:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = SharedStore(self.chance)
        self.seats: list[Seat] = []
        self.begun: list[float] = []
        self.paid = 0  # by requests that have ended
        self.lost = 0  # held by requests whose worker is dead or was away for too long
        self.is_long_away = False

    def check(self) -> None:
        held = sum(hold for seat in self.seats for hold, _ in seat.running.values())
        assert self.paid + held <= MONEY.most + self.lost
        slots = sum(len(seat.running) for seat in self.seats if seat.silent_since is None)
        assert slots <= SLOTS.most + self.lost
        now = trio.current_time()
        assert sum(at > now - 60 + LATENCY for at in self.begun) <= RATE.most

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                await self.start(nursery, number)
            for _ in range(25):
                await trio.sleep(self.chance.expovariate(0.3))
                await self.chance.choice([self.kill, self.pause, self.leave_off])(nursery)
            self.store.is_away = False
            await trio.sleep(3)
            for seat in self.seats:
                seat.scope.cancel()
        await trio.sleep(2 * LEASE)
        self.store.is_away = False
        await self.store.expire(0)

    async def start(self, nursery, number: int) -> None:
        seat = Seat(self, number)
        self.seats.append(seat)
        await nursery.start(seat.run)

    async def kill(self, nursery) -> None:
        seat = self.chance.choice(self.seats)
        seat.keeper._leave = trio.lowlevel.checkpoint  # it does not say good-bye
        seat.scope.cancel()
        self.lost += seat.at_risk
        seat.running = {}
        self.seats.remove(seat)
        await self.start(nursery, len(self.seats))

    async def pause(self, nursery) -> None:
        seat = self.chance.choice(self.seats)
        seconds = self.chance.choice([0.5, 4, 2 * LEASE])
        if seconds > LEASE / 2:
            self.lost += seat.at_risk
        seat.awake = trio.Event()
        async with seat.keeper._telling:  # no heartbeat
            seat.silent_since = trio.current_time()
            await trio.sleep(seconds)
        seat.awake.set()
        seat.silent_since = None

    async def leave_off(self, nursery) -> None:
        self.store.is_away = True
        seconds = self.chance.choice([0.2, 3, 2 * LEASE])
        if seconds > LEASE / 2:
            self.lost += sum(seat.at_risk for seat in self.seats)
        self.is_long_away = seconds > LEASE / 2
        await trio.sleep(seconds)
        self.store.is_away = self.is_long_away = False


@pytest.mark.parametrize("seed", [1, 2])
def test_no_ceiling_is_exceeded_and_everything_is_settled(seed):
    keep_promises(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 40))
def test_no_ceiling_is_exceeded_in_many_worlds(seed):
    keep_promises(seed)


def keep_promises(seed: int) -> None:
    crowd = Crowd(seed)
    trio.run(crowd.run, clock=MockClock(autojump_threshold=0))

    async def books() -> None:
        rows = (await crowd.store.rows(RowFilter(), limit=1000)).rows
        assert len(crowd.begun) > 40
        assert {row.state for row in rows} <= {RowState.SETTLED, RowState.EXPIRED}
        spent = sum(row.charges.get(MONEY.counter, 0) for row in rows)
        # What no worker holds any more is what was spent; the rest of it was never kept.
        levels = await MemoryStore.levels(crowd.store, [MONEY, SLOTS], 0)
        assert levels == [Level(spent, 0), Level(0, 0)]
        assert spent <= crowd.paid

    trio.run(books)
