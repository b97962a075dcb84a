"""Each store does what a plain model does, whatever comes in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import given, settings, strategies as st

from tests.stores.stores import (
    LEASE,
    NOW,
    SERVED,
    money,
    opened,
    requests,
    reserved,
    settled,
    slots,
    want,
)
from trio_router.ledger.ceilings import Change, Grant, Refused, Taken, leaves, tick_of
from trio_router.stores.interface import Batch

CEILINGS = (money(40), money(25, "team:search usd total"), slots(6), requests(9))
WORKERS = ("w1", "w2", "w3")


@dataclass
class Model:
    """Everything is kept as it came, and added up whenever it is asked for."""

    leases: dict[str, float] = field(default_factory=dict)
    counted: list[list[Any]] = field(default_factory=list)  # counter, tick of leaving, amount
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    rows: dict[str, tuple[str, str, int]] = field(default_factory=dict)  # worker, state, cost

    def used(self, ceiling, now) -> int:
        if ceiling.kind.slides:
            return sum(n for c, at, n in self.counted if c == ceiling.counter and at > tick_of(now))
        held = sum(n for (c, _), n in self.held.items() if c == ceiling.counter)
        return held + self.spent(ceiling)

    def spent(self, ceiling) -> int:
        if ceiling.counter != CEILINGS[0].counter:
            return 0
        return sum(cost for _, state, cost in self.rows.values() if state != "reserved")

    def is_alive(self, worker, now) -> bool:
        return self.leases.get(worker, 0) > now

    def take(self, worker, wants, now) -> bool:
        if any(self.used(w.ceiling, now) + w.amount > w.ceiling.most for w in wants):
            return False
        for w in wants:
            self.hold(worker, w.ceiling, w.amount, leaves(now))
        return True

    def hold(self, worker, ceiling, amount, at) -> None:
        if ceiling.kind.slides:
            self.counted.append([ceiling.counter, at, amount])
        else:
            place = ceiling.counter, worker
            self.held[place] = self.held.get(place, 0) + amount

    def extra(self, worker, ceiling, grant: Grant) -> None:
        self.hold(worker, ceiling, grant.extra, grant.extra_at)

    def give_back(self, worker, counter, amount) -> None:
        place = counter, worker
        if place in self.held:
            self.held[place] = max(0, self.held[place] - amount)

    def settle(self, worker, id_, cost) -> None:
        known = self.rows.get(id_)
        if known is not None and known[1] == "settled":
            return
        owner = worker if known is None else known[0]
        self.rows[id_] = owner, "settled", cost
        if known is None or known[1] == "reserved":
            self.give_back(owner, CEILINGS[0].counter, cost)

    def reserve(self, worker, id_, cost) -> None:
        if self.rows.get(id_, ("", "reserved", 0))[1] == "reserved":
            self.rows[id_] = worker, "reserved", cost

    def expire(self, now) -> None:
        for worker in [w for w, ends in self.leases.items() if ends <= now]:
            del self.leases[worker]
            self.held = {place: n for place, n in self.held.items() if place[1] != worker}
            for id_, (owner, state, cost) in self.rows.items():
                if owner == worker and state == "reserved":
                    self.rows[id_] = owner, "expired", cost


worker = st.sampled_from(WORKERS)
wants = st.lists(
    st.tuples(st.sampled_from(CEILINGS), st.integers(0, 12), st.integers(0, 12)),
    min_size=1,
    unique_by=lambda one: one[0].counter,
)
# A row is one worker's to its end.
row_ids = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("take"), worker, wants),
    st.tuples(st.just("wait"), st.sampled_from([0.004, 0.5, 3, 9, 31])),
    st.tuples(st.just("settle"), worker, row_ids, st.integers(0, 15)),
    st.tuples(st.just("reserve"), worker, row_ids, st.integers(0, 15)),
    st.tuples(st.just("give"), worker, st.sampled_from(CEILINGS[:3]), st.integers(0, 15)),
    st.tuples(st.just("less"), worker, st.integers(0, 5)),
    st.tuples(st.just("renew"), worker),
    st.tuples(st.just("expire")),
)


class Run:
    """One run of steps on a store and on the model."""

    def __init__(self, store) -> None:
        self.store, self.model = store, Model()
        self.now = NOW
        self.names = dict.fromkeys(WORKERS, "")
        self.batches = 0
        self.last_at = 0

    async def name(self, who: str) -> str:
        """The worker's name now: a new one when its lease has ended."""
        if not self.model.is_alive(self.names[who], self.now):
            self.batches += 1
            name = self.names[who] = f"{who}.{self.batches}"
            await self.store.join(name, LEASE, self.now)
            self.model.leases[name] = self.now + LEASE
        return self.names[who]

    async def wait(self, seconds) -> None:
        self.now += seconds

    async def take(self, who, wanted) -> None:
        name = await self.name(who)
        asked = [want(*one) for one in wanted]
        answer = await self.store.take(name, asked, self.now)
        assert isinstance(answer, Taken if self.model.take(name, asked, self.now) else Refused)
        if isinstance(answer, Taken):
            for one, grant in zip(asked, answer.grants, strict=True):
                self.model.extra(name, one.ceiling, grant)
                self.last_at = grant.at or self.last_at

    async def sync(self, name, rows=(), changes=()) -> None:
        self.batches += 1
        is_alive = self.model.is_alive(name, self.now)
        synced = await self.store.sync(Batch(name, self.batches, rows, changes), LEASE, self.now)
        assert synced.is_alive is is_alive
        if is_alive:
            self.model.leases[name] = self.now + LEASE

    async def settle(self, who, number, cost) -> None:
        name = self.names[who] or await self.name(who)
        id_ = f"{who}:{number}"
        owner = self.model.rows.get(id_, (name,))[0]
        self.model.settle(name, id_, cost)
        await self.sync(name, (settled(id_, owner, cost=cost, charges={CEILINGS[0].counter: cost}),))

    async def reserve(self, who, number, cost) -> None:
        name = await self.name(who)
        id_ = f"{who}:{number}"
        owner = self.model.rows.get(id_, (name,))[0]
        if owner == name:
            self.model.reserve(name, id_, cost)
            row = reserved(id_, name, cost=cost, charges={CEILINGS[0].counter: cost})
            await self.sync(name, (row,))

    async def give(self, who, ceiling, amount) -> None:
        name = await self.name(who)
        self.model.give_back(name, ceiling.counter, amount)
        await self.sync(name, (), (Change(ceiling.counter, -amount),))

    async def less(self, who, amount) -> None:
        """Less was counted than was taken, in the entry that was made last."""
        name = await self.name(who)
        entries = [e for e in self.model.counted if e[1] == self.last_at]
        if self.last_at > tick_of(self.now) and sum(e[2] for e in entries) >= amount:
            self.model.counted.append([CEILINGS[3].counter, self.last_at, -amount])
        await self.sync(name, (), (Change(CEILINGS[3].counter, -amount, self.last_at or 1),))
        if not (self.last_at > tick_of(self.now) and sum(e[2] for e in entries) >= amount):
            self.model.counted = [e for e in self.model.counted if e not in entries]

    async def renew(self, who) -> None:
        await self.sync(self.names[who] or await self.name(who))

    async def expire(self) -> None:
        self.model.expire(self.now)
        await self.store.expire(self.now)

    async def check(self) -> None:
        levels = await self.store.levels(CEILINGS, self.now)
        for ceiling, level in zip(CEILINGS, levels, strict=True):
            assert level.used + level.held == self.model.used(ceiling, self.now), ceiling
            assert ceiling.kind.slides or level.used == self.model.spent(ceiling), ceiling


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=30))
def test_memory_counts_as_the_model_does(tmp_path_factory, done):
    compare("memory", tmp_path_factory, done)


@pytest.mark.parametrize("kind", ["sqlite", *(pytest.param(k, marks=pytest.mark.slow) for k in SERVED)])
@settings(max_examples=20, deadline=None)
@given(st.lists(steps, max_size=25))
def test_each_store_counts_as_the_model_does(kind, tmp_path_factory, done):
    compare(kind, tmp_path_factory, done)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=40))
def test_a_file_counts_as_the_model_does_for_long(tmp_path_factory, done):
    compare("sqlite", tmp_path_factory, done)


def compare(kind, tmp_path_factory, done) -> None:
    async def run() -> None:
        async with opened(kind, tmp_path_factory.mktemp("store")) as store:
            one = Run(store)
            for what, *arguments in done:
                await getattr(one, what)(*arguments)
                await one.check()
            await store.rebuild()
            await one.check()

    trio.run(run)
