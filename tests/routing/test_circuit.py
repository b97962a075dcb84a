"""A target's circuit, against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from trio_router.config.routes import CooldownConfig
from trio_router.routing.circuit import Circuit, State

CONFIG = CooldownConfig(failures=3, window=30, base=10, max=120)


def fail(circuit: Circuit, now: float, times: int = 1) -> None:
    for _ in range(times):
        is_probe = circuit.enter(now)
        circuit.failed(now, is_probe=is_probe)


class TestCircuit:
    def test_failures_in_a_row_open_it(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 2)
        assert circuit.may_ask(0)
        fail(circuit, 1)
        assert circuit.state(1) is State.OPEN
        assert not circuit.may_ask(10.9)
        assert circuit.state(11) is State.HALF_OPEN

    def test_a_success_between_breaks_the_row(self):
        circuit = Circuit(CooldownConfig(failures=3, window=30))
        for now in range(0, 60, 20):
            fail(circuit, now)
            for _ in range(4):
                circuit.succeeded(now)
        assert circuit.state(60) is State.CLOSED

    def test_failures_long_ago_do_not_count(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 2)
        fail(circuit, 31)
        assert circuit.may_ask(31)

    def test_half_of_many_failing_opens_it_although_some_succeed(self):
        circuit = Circuit(CONFIG)
        for now in range(3):
            circuit.succeeded(now)
            fail(circuit, now)
        assert circuit.state(3) is State.OPEN

    def test_few_of_many_failing_do_not(self):
        circuit = Circuit(CONFIG)
        for now in range(20):
            for _ in range(9):
                circuit.succeeded(now)
            fail(circuit, now)
        assert circuit.state(20) is State.CLOSED

    def test_each_failed_probe_doubles_the_rest_up_to_the_most(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        rests = []
        for _ in range(6):
            began = circuit.open_until
            fail(circuit, began)
            rests.append(circuit.open_until - began)
        assert rests == [20, 40, 80, 120, 120, 120]

    def test_one_probe_at_a_time(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        assert circuit.enter(10)
        assert not circuit.may_ask(10)
        circuit.release_probe()
        assert circuit.may_ask(10)

    @pytest.mark.parametrize("when", [0, 5, 10, 1000])
    def test_success_closes_it_wherever_it_came_from(self, when):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        circuit.succeeded(when)
        assert circuit.state(when) is State.CLOSED
        fail(circuit, when, 3)
        assert circuit.open_until == when + 10  # the next rest is a short one again

    def test_a_first_event_closes_it_on_probation(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        assert circuit.enter(10)
        circuit.answered(10, is_probe=True)
        assert circuit.state(10) is State.CLOSED
        circuit.failed(12)
        assert circuit.open_until == 12 + 20

    def test_what_was_asked_before_it_opened_does_not_prolong_it(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        circuit.failed(9)
        circuit.failed(11)
        assert circuit.open_until == 10


class Machine(RuleBasedStateMachine):
    """Time goes in slices of the window, so that the model's window and the circuit's are the same."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(CONFIG)
        self.now = 0.0
        self.open_until: float | None = None
        self.prober: int | None = None
        self.on_probation = False
        self.level = 0
        self.row: list[float] = []
        self.results: list[tuple[float, bool]] = []
        self.number = 0

    @rule(slices=st.integers(1, 15))
    def time_passes(self, slices):
        self.now += slices * 3.0

    @rule(target=asked)
    def ask(self):
        may = self.open_until is None or (self.now >= self.open_until and self.prober is None)
        assert self.circuit.may_ask(self.now) is may
        if not may:
            return multiple()
        is_probe = self.circuit.enter(self.now)
        self.number += 1
        assert is_probe is (self.open_until is not None)
        if is_probe:
            self.prober = self.number
        return (self.number, is_probe)

    @rule(one=consumes(asked))
    def succeeds(self, one):
        self.circuit.succeeded(self.now)
        self.results.append((self.now, True))
        if self.open_until is not None:
            self.results.clear()
        self.open_until = self.prober = None
        self.on_probation, self.level, self.row = False, 0, []

    @rule(one=consumes(asked))
    def fails(self, one):
        number, is_probe = one
        is_probe = is_probe and self.prober == number
        self.circuit.failed(self.now, is_probe=is_probe)
        self.results.append((self.now, False))
        if self.row and self.now - self.row[0] > CONFIG.window:
            self.row = []
        self.row.append(self.now)
        recent = [good for at, good in self.results if at > self.now - CONFIG.window]
        bad = recent.count(False)
        enough = len(self.row) >= CONFIG.failures or (bad >= CONFIG.failures and 2 * bad >= len(recent))
        if is_probe or (self.open_until is None and (enough or self.on_probation)):
            self.open_until = self.now + min(CONFIG.max, CONFIG.base * 2**self.level)
            self.level += 1
            self.prober, self.on_probation = None, False
            self.row, self.results = [], []

    @rule(one=asked)
    def first_event(self, one):
        number, is_probe = one
        is_probe = is_probe and self.prober == number
        self.circuit.answered(self.now, is_probe=is_probe)
        if is_probe:
            self.open_until = self.prober = None
            self.on_probation = True

    @rule(one=consumes(asked))
    def client_leaves(self, one):
        number, is_probe = one
        if is_probe and self.prober == number:
            self.circuit.release_probe()
            self.prober = None

    @invariant()
    def agrees(self):
        state = self.circuit.state(self.now)
        if self.open_until is None:
            assert state is State.CLOSED
        else:
            assert state is (State.OPEN if self.now < self.open_until else State.HALF_OPEN)
        assert self.circuit.is_probing is (self.prober is not None)


TestAgainstAModel = Machine.TestCase
TestAgainstAModel.settings = settings(max_examples=80, stateful_step_count=40)
