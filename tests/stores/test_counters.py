"""What every store does with counters, leases and rows."""

from __future__ import annotations

import pytest

from tests.stores.stores import (
    LEASE,
    NOW,
    STORES,
    attempt,
    money,
    opened,
    requests,
    reserved,
    settled,
    slots,
    want,
)
from trio_router.ledger.ceilings import MINUTE, SLICE, Change, Level, Refused, Taken, leaves
from trio_router.ledger.rows import RowState
from trio_router.stores.interface import Batch, LeaseLost


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    async with opened(request.param, tmp_path) as store:
        await store.join("w1", LEASE, NOW)
        await store.join("w2", LEASE, NOW)
        yield store


async def level(store, ceiling, now=NOW) -> Level:
    return (await store.levels([ceiling], now))[0]


class TestTake:
    async def test_a_budget_is_held_up_to_its_last_nano_dollar(self, store):
        ceiling = money(100)
        assert isinstance(await store.take("w1", [want(ceiling, 60)], NOW), Taken)
        assert isinstance(await store.take("w2", [want(ceiling, 41)], NOW), Refused)
        assert isinstance(await store.take("w2", [want(ceiling, 40)], NOW), Taken)
        assert await level(store, ceiling) == Level(0, 100)

    async def test_all_is_taken_or_nothing(self, store):
        wide, tight = money(100), slots(1)
        await store.take("w1", [want(tight)], NOW)
        refused = await store.take("w2", [want(wide, 5), want(tight)], NOW)
        assert isinstance(refused, Refused)
        assert refused.ceiling == tight
        assert await level(store, wide) == Level(0, 0)

    async def test_a_request_leaves_the_minute_sixty_seconds_later(self, store):
        ceiling = requests(2)
        await store.join("long", 1000, NOW)
        await store.take("long", [want(ceiling)], NOW)
        await store.take("long", [want(ceiling)], NOW + 10)
        refused = await store.take("long", [want(ceiling)], NOW + 20)
        assert refused == Refused(ceiling, 2, pytest.approx(40, abs=0.05))
        assert isinstance(await store.take("long", [want(ceiling)], NOW + 59.98), Refused)
        assert isinstance(await store.take("long", [want(ceiling)], NOW + 60.05), Taken)
        assert isinstance(await store.take("long", [want(ceiling)], NOW + 60.06), Refused)

    async def test_the_wait_is_until_enough_has_left(self, store):
        ceiling = requests(10)
        await store.join("long", 1000, NOW)
        for second in range(10):
            await store.take("long", [want(ceiling)], NOW + second)
        refused = await store.take("long", [want(ceiling, 3)], NOW + 10)
        assert refused.after == pytest.approx(52, abs=0.05)

    async def test_more_than_the_ceiling_is_never_granted_later(self, store):
        refused = await store.take("w1", [want(requests(3), 4)], NOW)
        assert refused == Refused(requests(3), 0, None)

    async def test_the_longest_wait_is_told_of_several(self, store):
        short, ended = requests(1), money(10, ends=NOW + 500)
        await store.take("w1", [want(short), want(ended, 10)], NOW)
        refused = await store.take("w1", [want(short), want(ended, 1)], NOW)
        assert refused == Refused(ended, 10, 500)

    async def test_a_soft_ceiling_refuses_nothing_and_tells_what_is_used(self, store):
        ceiling = money(10, mode="soft")
        await store.take("w1", [want(ceiling, 8)], NOW)
        taken = await store.take("w1", [want(ceiling, 8)], NOW)
        assert taken.grants[0].used == 16

    async def test_two_wants_of_one_counter_are_a_mistake(self, store):
        with pytest.raises(ValueError, match="one counter"):
            await store.take("w1", [want(money(5)), want(money(5))], NOW)

    async def test_who_never_joined_takes_nothing(self, store):
        with pytest.raises(LeaseLost):
            await store.take("stranger", [want(money(5))], NOW)

    async def test_who_came_too_late_takes_nothing(self, store):
        with pytest.raises(LeaseLost):
            await store.take("w1", [want(money(5))], NOW + LEASE)


class TestSlices:
    async def test_much_is_granted_in_advance_where_much_is_left(self, store):
        taken = await store.take("w1", [want(money(1000), 10, extra=20)], NOW)
        assert taken.grants[0].extra == 20
        assert await level(store, money(1000)) == Level(0, 30)

    async def test_a_slice_shrinks_as_the_ceiling_nears(self, store):
        extras = []
        for _ in range(5):
            taken = await store.take("w1", [want(money(1000), 100, extra=1000)], NOW)
            extras.append(taken.grants[0].extra)
        assert extras == sorted(extras, reverse=True)
        assert extras[0] == 50
        assert extras[-1] == 0

    async def test_from_the_half_on_nothing_is_granted_in_advance(self, store):
        await store.take("w1", [want(requests(100), 50)], NOW)
        taken = await store.take("w2", [want(requests(100), 1, extra=8)], NOW)
        assert taken.grants[0].extra == 0

    async def test_what_is_taken_in_advance_of_a_minute_leaves_a_minute_after_its_last_use(self, store):
        ceiling = requests(100)
        await store.join("long", 1000, NOW)
        taken = await store.take("long", [want(ceiling, 1, extra=5)], NOW)
        assert taken.grants[0].extra_at == leaves(NOW, MINUTE + SLICE)
        assert await level(store, ceiling, NOW + 60.5) == Level(5)
        assert await level(store, ceiling, NOW + 62.5) == Level(0)


class TestSync:
    async def test_it_renews_the_lease(self, store):
        synced = await store.sync(Batch("w1", 1), LEASE, NOW + 8)
        assert synced.is_alive
        await store.take("w1", [want(money(5))], NOW + 17)

    async def test_what_is_settled_goes_over_from_what_is_held_to_what_is_spent(self, store):
        ceiling = money(100)
        await store.take("w1", [want(ceiling, 60)], NOW)
        row = settled("r1", cost=25, charges={ceiling.counter: 25})
        await store.sync(Batch("w1", 1, (row,)), LEASE, NOW)
        assert await level(store, ceiling) == Level(25, 35)

    async def test_more_than_was_held_is_spent_all_the_same(self, store):
        ceiling = money(100)
        await store.take("w1", [want(ceiling, 10)], NOW)
        row = settled("r1", charges={ceiling.counter: 25})
        await store.sync(Batch("w1", 1, (row,)), LEASE, NOW)
        assert await level(store, ceiling) == Level(25, 0)

    async def test_a_request_that_costs_nothing_ends_like_any_other(self, store):
        """Errors do; and what was drawn of a slice may have needed nothing of the store."""
        ceiling, minute = money(100), requests(9)
        await store.take("w1", [want(ceiling, 0), want(slots(3)), want(minute, 0)], NOW)
        row = settled("r1", cost=0, charges={ceiling.counter: 0})
        changes = (Change(slots(3).counter, 0), Change(ceiling.counter, 0))
        await store.sync(Batch("w1", 1, (row,), changes), LEASE, NOW)
        assert await level(store, ceiling) == Level(0, 0)
        await store.take("w1", [want(minute)], NOW + 1)
        assert await level(store, minute, NOW + 70) == Level(0, 0)
        await store.leave("w1", NOW + 70)
        assert await level(store, slots(3), NOW + 70) == Level(0, 0)

    async def test_a_batch_that_comes_twice_counts_once(self, store):
        ceiling = money(100)
        await store.take("w1", [want(ceiling, 60)], NOW)
        batch = Batch("w1", 1, (), (Change(ceiling.counter, -20),))
        await store.sync(batch, LEASE, NOW)
        await store.sync(batch, LEASE, NOW)
        assert await level(store, ceiling) == Level(0, 40)

    async def test_a_row_is_settled_once_in_whatever_batch(self, store):
        ceiling = money(100)
        row = settled("r1", charges={ceiling.counter: 25})
        for number in (1, 2):
            await store.sync(Batch("w1", number, (row,)), LEASE, NOW)
        later = settled("r1", charges={ceiling.counter: 90})
        await store.sync(Batch("w1", 3, (later, reserved("r1"))), LEASE, NOW)
        assert await level(store, ceiling) == Level(25, 0)
        assert await store.row("r1") == row

    async def test_a_reserved_row_tells_what_is_known_and_spends_nothing(self, store):
        ceiling = money(100)
        for number, known in enumerate((0, 3, 7), 1):
            row = reserved("r1", charges={ceiling.counter: known})
            await store.sync(Batch("w1", number, (row,)), LEASE, NOW)
        assert await level(store, ceiling) == Level(0, 0)
        assert (await store.row("r1")).charges == {ceiling.counter: 7}

    async def test_what_is_given_back_can_be_taken_by_others(self, store):
        ceiling = slots(2)
        await store.take("w1", [want(ceiling, 2)], NOW)
        await store.sync(Batch("w1", 1, (), (Change(ceiling.counter, -1),)), LEASE, NOW)
        assert isinstance(await store.take("w2", [want(ceiling)], NOW), Taken)
        assert isinstance(await store.take("w2", [want(ceiling)], NOW), Refused)

    async def test_nobody_gives_back_more_than_he_holds(self, store):
        ceiling = slots(5)
        await store.take("w1", [want(ceiling, 2)], NOW)
        await store.take("w2", [want(ceiling, 2)], NOW)
        await store.sync(Batch("w1", 1, (), (Change(ceiling.counter, -9),)), LEASE, NOW)
        assert await level(store, ceiling) == Level(0, 2)

    async def test_what_was_counted_of_a_minute_is_put_right(self, store):
        ceiling = requests(100)
        at = (await store.take("w1", [want(ceiling, 30)], NOW)).grants[0].at
        await store.sync(Batch("w1", 1, (), (Change(ceiling.counter, -12, at),)), LEASE, NOW + 1)
        assert await level(store, ceiling, NOW + 1) == Level(18)
        late = leaves(NOW + 1)
        await store.sync(Batch("w1", 2, (), (Change(ceiling.counter, 7, late),)), LEASE, NOW + 1)
        assert await level(store, ceiling, NOW + 1) == Level(25)
        assert await level(store, ceiling, NOW + 60.5) == Level(7)

    async def test_what_has_left_the_minute_is_not_changed_any_more(self, store):
        ceiling = requests(100)
        await store.join("long", 1000, NOW)
        at = (await store.take("long", [want(ceiling, 30)], NOW)).grants[0].at
        await store.take("long", [want(ceiling, 5)], NOW + 30)
        for number, amount in ((1, -30), (2, 50)):
            change = Change(ceiling.counter, amount, at)
            await store.sync(Batch("long", number, (), (change,)), 1000, NOW + 61)
        assert await level(store, ceiling, NOW + 61) == Level(5)

    async def test_no_entry_falls_below_zero(self, store):
        ceiling = requests(100)
        at = (await store.take("w1", [want(ceiling, 3)], NOW)).grants[0].at
        await store.take("w1", [want(ceiling, 4)], NOW + 1)
        await store.sync(Batch("w1", 1, (), (Change(ceiling.counter, -9, at),)), LEASE, NOW + 1)
        assert await level(store, ceiling, NOW + 1) == Level(4)


class TestLeases:
    async def test_a_dead_workers_slots_are_free_when_its_lease_has_ended(self, store):
        ceiling = slots(1)
        await store.take("w1", [want(ceiling)], NOW)
        await store.sync(Batch("w2", 1), LEASE, NOW + 9)
        assert await store.expire(NOW + 9.9) == []
        assert isinstance(await store.take("w2", [want(ceiling)], NOW + 9.9), Refused)
        await store.expire(NOW + 10)
        assert isinstance(await store.take("w2", [want(ceiling)], NOW + 10), Taken)

    async def test_a_dead_workers_rows_cost_what_was_last_known(self, store):
        ceiling = money(100)
        await store.take("w1", [want(ceiling, 60)], NOW)
        row = reserved("r1", cost=11, charges={ceiling.counter: 11})
        await store.sync(Batch("w1", 1, (row,)), LEASE, NOW)
        [ended] = await store.expire(NOW + LEASE)
        assert (ended.id, ended.state, ended.cost) == ("r1", RowState.EXPIRED, 11)
        assert ended.is_estimated
        assert await store.row("r1") == ended
        assert await level(store, ceiling) == Level(11, 0)
        assert await store.expire(NOW + LEASE) == []

    async def test_who_lived_after_all_puts_its_rows_right(self, store):
        ceiling = money(100)
        row = reserved("r1", charges={ceiling.counter: 11})
        await store.sync(Batch("w1", 1, (row,)), LEASE, NOW)
        await store.expire(NOW + LEASE)
        late = settled("r1", charges={ceiling.counter: 30})
        synced = await store.sync(Batch("w1", 2, (late,)), LEASE, NOW + 11)
        assert not synced.is_alive
        assert await level(store, ceiling, NOW + 11) == Level(30, 0)
        with pytest.raises(LeaseLost):
            await store.take("w1", [want(ceiling)], NOW + 11)

    async def test_a_new_name_does_not_pay_the_old_ones_charges_from_its_holding(self, store):
        ceiling = money(100)
        await store.sync(Batch("w1", 1, (reserved("r1"),)), LEASE, NOW)
        await store.expire(NOW + LEASE)
        await store.join("w1b", LEASE, NOW + 11)
        await store.take("w1b", [want(ceiling, 40)], NOW + 11)
        late = settled("r1", charges={ceiling.counter: 30})
        await store.sync(Batch("w1b", 1, (late,)), LEASE, NOW + 11)
        assert await level(store, ceiling, NOW + 11) == Level(30, 40)

    async def test_late_words_of_progress_change_no_expired_row(self, store):
        await store.sync(Batch("w1", 1, (reserved("r1"),)), LEASE, NOW)
        [ended] = await store.expire(NOW + LEASE)
        await store.sync(Batch("w1", 2, (reserved("r1", cost=9),)), LEASE, NOW + 11)
        assert await store.row("r1") == ended

    async def test_who_leaves_holds_nothing_any_more(self, store):
        await store.take("w1", [want(money(100), 60), want(slots(3))], NOW)
        await store.sync(Batch("w1", 1, (reserved("r1"),)), LEASE, NOW)
        await store.leave("w1", NOW + 1)
        assert await store.levels([money(100), slots(3)], NOW + 1) == [Level(0, 0), Level(0, 0)]
        assert (await store.row("r1")).state is RowState.EXPIRED


class TestRebuild:
    async def test_counters_are_set_from_the_rows_and_stay_the_same(self, store):
        ceiling, other = money(100), money(100, "team:search usd total")
        await store.take("w1", [want(ceiling, 50)], NOW)
        rows = (
            settled("r1", charges={ceiling.counter: 7, other.counter: 7}, attempts=(attempt(),)),
            settled("r2", charges={ceiling.counter: 8}),
            reserved("r3", charges={ceiling.counter: 100}),
        )
        await store.sync(Batch("w1", 1, rows), LEASE, NOW)
        before = await store.levels([ceiling, other], NOW)
        for _ in range(2):
            await store.rebuild()
            assert await store.levels([ceiling, other], NOW) == before == [Level(15, 35), Level(7, 0)]
