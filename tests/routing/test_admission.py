"""Admission, alone and with tasks that come, wait, leave and are cancelled under a mock clock."""

from __future__ import annotations

import queue
import random
from itertools import count

import outcome
import pytest
import trio
import trio.testing
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_router.errors import Overloaded
from trio_router.relay.gate import Gate
from trio_router.routing.admission import Admission, Entry

LIMIT, QUEUE, PATIENCE = 3, 2, 5.0


def test_who_comes_first_is_let_in_first():
    admission: Admission[str] = Admission(1, 2)
    assert [admission.enter(t) for t in "abcd"] == [Entry.IN, Entry.WAIT, Entry.WAIT, Entry.FULL]
    assert admission.leave() == "b"
    assert not admission.give_up("b")
    assert admission.give_up("c")
    assert admission.leave() is None
    assert admission.inside == 0


class ResizedMachine(RuleBasedStateMachine):
    """An admission whose limits change, against two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.limit, self.queue = LIMIT, QUEUE
        self.admission: Admission[int] = Admission(LIMIT, QUEUE)
        self.inside: list[int] = []
        self.waiting: list[int] = []
        self.numbers = count()

    @rule()
    def comes(self):
        number = next(self.numbers)
        entry = self.admission.enter(number)
        if len(self.inside) < self.limit:
            assert entry is Entry.IN
            self.inside.append(number)
        elif len(self.waiting) < self.queue:
            assert entry is Entry.WAIT
            self.waiting.append(number)
        else:
            assert entry is Entry.FULL

    @precondition(lambda self: self.inside)
    @rule()
    def leaves(self):
        self.inside.pop()
        told = self.admission.leave()
        if self.waiting and len(self.inside) < self.limit:
            assert told == self.waiting[0]
            self.inside.append(self.waiting.pop(0))
        else:
            assert told is None

    @precondition(lambda self: self.waiting)
    @rule(choice=st.integers(0, 9))
    def gives_up(self, choice):
        assert self.admission.give_up(self.waiting.pop(choice % len(self.waiting)))

    @rule(limit=st.integers(1, 6), queue=st.integers(0, 4))
    def is_resized(self, limit, queue):
        self.limit, self.queue = limit, queue
        room = max(0, limit - len(self.inside))
        assert self.admission.resize(limit, queue) == self.waiting[:room]
        self.inside += self.waiting[:room]
        del self.waiting[:room]

    @invariant()
    def agrees(self):
        assert self.admission.inside == len(self.inside)
        assert self.admission.waiting == len(self.waiting)

    @invariant()
    def nobody_waits_where_there_is_room(self):
        assert not self.waiting or self.admission.inside >= self.limit


TestResizingAgainstAModel = ResizedMachine.TestCase
TestResizingAgainstAModel.settings = settings(max_examples=100, stateful_step_count=40)


class Portal:
    """A trio loop with a mock clock, moved step by step from plain code."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self._ended: outcome.Outcome | None = None
        self._send: trio.MemorySendChannel | None = None
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._calls.put,
            done_callback=self._end,
            clock=trio.testing.MockClock(autojump_threshold=0),
        )
        self._pump(lambda: self._send is not None)

    def run(self, function):
        cell: list[outcome.Outcome] = []
        self._send.send_nowait((function, cell))
        self._pump(lambda: cell)
        return cell[0].unwrap()

    def close(self) -> None:
        self._send.close()
        self._pump(lambda: self._ended)
        self._ended.unwrap()

    async def _main(self) -> None:
        self._send, receive = trio.open_memory_channel(1)
        async with trio.open_nursery() as self.nursery:
            async for function, cell in receive:
                cell.append(await outcome.acapture(function))
            self.nursery.cancel_scope.cancel()

    def _end(self, how: outcome.Outcome) -> None:
        self._ended = how

    def _pump(self, condition) -> None:
        while not condition():
            self._calls.get(timeout=10)()


class GateMachine(RuleBasedStateMachine):
    """Guests of a gate against two lists: who is inside, and who waits since when."""

    def __init__(self) -> None:
        super().__init__()
        self.portal = Portal()
        self.gate = Gate(LIMIT, QUEUE)
        self.states: dict[int, str] = {}
        self.scopes: dict[int, trio.CancelScope] = {}
        self.exits: dict[int, trio.Event] = {}
        self.inside: list[int] = []
        self.waiting: list[tuple[int, float]] = []
        self.now = 0.0
        self.numbers = count()

    def teardown(self):
        self.portal.close()

    async def guest(self, number):
        with self.scopes[number]:
            await self.visit(number)
        if self.states[number] == "waits":
            self.states[number] = "cancelled"

    async def visit(self, number):
        try:
            if not await self.gate.enter(PATIENCE, "full"):
                self.states[number] = "gave up"
                return
        except Overloaded:
            self.states[number] = "refused"
            return
        try:
            self.states[number] = "inside"
            await self.exits[number].wait()
        finally:
            self.gate.leave()
            self.states[number] = "left"

    @rule()
    def comes(self):
        number = next(self.numbers)

        async def start():
            self.scopes[number], self.exits[number] = trio.CancelScope(), trio.Event()
            self.states[number] = "waits"
            self.portal.nursery.start_soon(self.guest, number)
            await trio.testing.wait_all_tasks_blocked()

        self.portal.run(start)
        if len(self.inside) < LIMIT:
            self.inside.append(number)
        elif len(self.waiting) < QUEUE:
            self.waiting.append((number, self.now + PATIENCE))
        else:
            assert self.states[number] == "refused"

    @precondition(lambda self: self.inside)
    @rule(choice=st.integers(0, 9), cancel=st.booleans())
    def leaves(self, choice, cancel):
        number = self.inside.pop(choice % len(self.inside))
        self._end(number, cancel)
        assert self.states[number] == "left"
        if self.waiting:
            self.inside.append(self.waiting.pop(0)[0])

    @precondition(lambda self: self.waiting)
    @rule(choice=st.integers(0, 9))
    def is_cancelled_while_it_waits(self, choice):
        number, _ = self.waiting.pop(choice % len(self.waiting))
        self._end(number, cancel=True)

    @precondition(lambda self: self.inside and self.waiting)
    @rule()
    def is_let_in_and_cancelled_at_once(self):
        going, (coming, _) = self.inside.pop(0), self.waiting.pop(0)

        async def both():
            self.exits[going].set()
            await trio.lowlevel.checkpoint()
            self.scopes[coming].cancel()
            await trio.testing.wait_all_tasks_blocked()

        self.portal.run(both)
        if self.waiting:
            self.inside.append(self.waiting.pop(0)[0])

    @rule(seconds=st.sampled_from([1.0, 4.5, 7.0]))
    def time_passes(self, seconds):
        async def sleep():
            await trio.sleep(seconds)
            await trio.testing.wait_all_tasks_blocked()

        self.portal.run(sleep)
        self.now += seconds
        gone = [number for number, until in self.waiting if until <= self.now]
        self.waiting = [one for one in self.waiting if one[0] not in gone]
        assert all(self.states[number] == "gave up" for number in gone)

    @invariant()
    def agrees(self):
        assert self.gate.admission.inside == len(self.inside)
        assert self.gate.admission.waiting == len(self.waiting)
        assert sorted(n for n, s in self.states.items() if s == "inside") == sorted(self.inside)
        assert sorted(n for n, s in self.states.items() if s == "waits") == [n for n, _ in self.waiting]

    def _end(self, number, cancel):
        async def end():
            if cancel:
                self.scopes[number].cancel()
            else:
                self.exits[number].set()
            await trio.testing.wait_all_tasks_blocked()

        self.portal.run(end)


TestGateAgainstAModel = GateMachine.TestCase
TestGateAgainstAModel.settings = settings(max_examples=30, stateful_step_count=30)


async def cancel_at_random(times: int) -> None:
    """Guests of a gate of four, each cancelled at a random moment of its visit."""
    gate = Gate(4, 50)
    dice = random.Random(5)

    async def guest():
        with trio.CancelScope() as scope:
            at = dice.uniform(0, 3)
            scope.deadline = trio.current_time() + at if dice.random() < 0.8 else float("inf")
            try:
                is_inside = await gate.enter(dice.choice([0.5, 1.0, 10]), "full")
            except Overloaded:
                return
            if is_inside:
                try:
                    await trio.sleep(dice.uniform(0, 1))
                finally:
                    gate.leave()

    async with trio.open_nursery() as nursery:
        for number in range(times):
            nursery.start_soon(guest)
            if number % 20 == 0:
                await trio.sleep(dice.uniform(0, 1.5))
    assert (gate.admission.inside, gate.admission.waiting) == (0, 0)


async def test_no_slot_is_lost_however_guests_leave(autojump_clock):
    await cancel_at_random(3000)


@pytest.mark.slow
async def test_no_slot_is_lost_over_a_hundred_thousand_cancels(autojump_clock):
    await cancel_at_random(100_000)
