"""A gate that gets new limits while tasks are inside and wait."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_router.errors import Overloaded
from trio_router.relay.gate import Gate


class Guests:
    """Tasks that go in and stay; `inside` are those that were let in, in that order."""

    def __init__(self, gate: Gate, nursery: trio.Nursery) -> None:
        self.gate = gate
        self.inside: list[int] = []
        self._nursery = nursery
        self._count = 0

    async def come(self, count: int) -> None:
        for _ in range(count):
            self._nursery.start_soon(self._stay, self._count)
            self._count += 1
            await trio.testing.wait_all_tasks_blocked()

    async def resize(self, limit: int, queue: int) -> None:
        self.gate.resize(limit, queue)
        await trio.testing.wait_all_tasks_blocked()

    async def leave(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.leave()
            await trio.testing.wait_all_tasks_blocked()

    async def _stay(self, number: int) -> None:
        if await self.gate.enter(5.0, "full"):
            self.inside.append(number)


async def test_a_wider_gate_lets_in_who_waits_in_order(autojump_clock):
    async with trio.open_nursery() as nursery:
        guests = Guests(Gate(1, 9), nursery)
        await guests.come(4)
        assert guests.inside == [0]
        await guests.resize(3, 9)
        assert sorted(guests.inside) == [0, 1, 2]  # two at once: which task runs first is trio's choice
        await guests.leave()
        assert sorted(guests.inside) == [0, 1, 2, 3]


async def test_a_narrower_gate_sends_nobody_out_and_lets_nobody_in_before_there_is_room(autojump_clock):
    async with trio.open_nursery() as nursery:
        guests = Guests(Gate(3, 9), nursery)
        await guests.come(4)
        await guests.resize(1, 9)
        assert guests.inside == [0, 1, 2]
        await guests.leave(2)
        assert guests.inside == [0, 1, 2]
        await guests.leave()
        assert guests.inside == [0, 1, 2, 3]


async def test_a_shorter_queue_refuses_who_comes_and_keeps_who_waits(autojump_clock):
    async with trio.open_nursery() as nursery:
        guests = Guests(Gate(1, 2), nursery)
        await guests.come(3)
        await guests.resize(1, 0)
        with pytest.raises(Overloaded, match="full"):
            await guests.gate.enter(5.0, "full")
        await guests.leave(2)
        assert guests.inside == [0, 1, 2]


async def test_who_was_let_in_by_a_resize_and_is_cancelled_at_once_gives_its_slot_back():
    gate = Gate(1, 9)
    assert await gate.enter(1.0, "full")
    async with trio.open_nursery() as nursery:

        async def comes() -> None:
            if await gate.enter(100.0, "full"):
                try:
                    await trio.sleep_forever()
                finally:
                    gate.leave()

        nursery.start_soon(comes)
        await trio.testing.wait_all_tasks_blocked()
        gate.resize(2, 9)
        nursery.cancel_scope.cancel()
    assert (gate.admission.inside, gate.admission.waiting) == (1, 0)
