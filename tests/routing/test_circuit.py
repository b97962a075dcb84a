"""A target's circuit, against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from trio_router.config.routes import CooldownConfig
from trio_router.routing.circuit import Circuit, CircuitState

CONFIG = CooldownConfig(failures=3, window=30, base=10, max=160)


def fail(circuit: Circuit, now: float, times: int = 1) -> None:
    for _ in range(times):
        probe = circuit.enter(now)
        circuit.failed(now, probe=probe)


class TestCircuit:
    def test_failures_in_a_row_open_it(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 2)
        assert circuit.may_ask(0)
        fail(circuit, 1)
        assert circuit.state(1) is CircuitState.OPEN
        assert not circuit.may_ask(10.9)
        assert circuit.state(11) is CircuitState.HALF_OPEN

    def test_a_success_between_breaks_the_row(self):
        circuit = Circuit(CooldownConfig(failures=3, window=30))
        for now in range(0, 60, 20):
            fail(circuit, now)
            for _ in range(4):
                circuit.succeeded(now)
        assert circuit.state(60) is CircuitState.CLOSED

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
        assert circuit.state(3) is CircuitState.OPEN

    def test_few_of_many_failing_do_not(self):
        circuit = Circuit(CONFIG)
        for now in range(20):
            for _ in range(9):
                circuit.succeeded(now)
            fail(circuit, now)
        assert circuit.state(20) is CircuitState.CLOSED

    def test_each_failed_probe_doubles_the_rest_up_to_three_quarters_of_the_most(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        rests = []
        for _ in range(6):
            began = circuit.open_until
            fail(circuit, began)
            rests.append(circuit.open_until - began)
        assert rests == [20, 40, 80, 120, 120, 120]

    @pytest.mark.parametrize(
        ("base", "most", "rests"), [(10, 20, [10, 15]), (10, 10, [10]), (10, 5, [5])]
    )
    def test_the_longest_rest_leaves_time_to_be_back_within_the_most(self, base, most, rests):
        circuit = Circuit(CooldownConfig(failures=1, base=base, max=most))
        fail(circuit, 0)
        assert circuit.open_until == rests[0]
        for _ in range(4):
            began = circuit.open_until
            fail(circuit, began)
            assert circuit.open_until - began == rests[-1]

    def test_a_rest_counts_from_the_beginning_of_the_probe(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        probe = circuit.enter(10)
        assert circuit.state(19) is CircuitState.HALF_OPEN
        circuit.failed(19, began=10, probe=probe)
        assert circuit.state(19) is CircuitState.OPEN
        assert circuit.open_until == 10 + 20

    def test_a_probe_that_takes_longer_than_the_rest_does_not_hold_up_the_next(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        first = circuit.enter(10)
        assert not circuit.may_ask(29.9)
        second = circuit.enter(30)
        assert second > first
        circuit.answered(31, probe=second)
        circuit.failed(70, began=10, probe=first)  # which tells of the outage that is over
        assert circuit.state(70) is CircuitState.CLOSED

    def test_a_late_probe_that_is_answered_closes_it_too(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        first, second = circuit.enter(10), circuit.enter(30)
        circuit.answered(31, probe=first)
        assert circuit.state(31) is CircuitState.CLOSED
        circuit.failed(32, began=30, probe=second)
        assert circuit.state(32) is CircuitState.CLOSED

    def test_one_probe_at_a_time(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        probe = circuit.enter(10)
        assert probe
        assert not circuit.may_ask(10)
        assert circuit.enter(10) == 0
        circuit.release_probe(probe)
        assert circuit.may_ask(10)

    def test_the_rest_after_a_probe_that_said_nothing_is_no_longer(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        circuit.release_probe(circuit.enter(10))
        fail(circuit, 11)
        assert circuit.open_until == 11 + 20

    def test_clients_without_patience_do_not_make_a_probe_of_each_request(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        probes = []
        for now in range(10, 70):
            if probe := circuit.enter(now):
                probes.append(now)
                circuit.give_up_probe(probe)
        assert probes == [10, 11, 21, 31, 41, 51, 61]

    @pytest.mark.parametrize("when", [0, 5, 10, 1000])
    def test_success_closes_it_wherever_it_came_from(self, when):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        circuit.succeeded(when)
        assert circuit.state(when) is CircuitState.CLOSED
        fail(circuit, when, 3)
        assert circuit.open_until == when + 10  # the next rest is a short one again

    def test_a_first_event_closes_it_on_probation(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        probe = circuit.enter(10)
        circuit.answered(10, probe=probe)
        assert circuit.state(10) is CircuitState.CLOSED
        circuit.failed(12)
        assert circuit.open_until == 12 + 40

    def test_the_probe_itself_may_fail_after_its_first_event(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        probe = circuit.enter(10)
        circuit.answered(11, probe=probe)
        circuit.failed(12, began=10, probe=probe)
        assert circuit.state(12) is CircuitState.OPEN

    def test_what_was_asked_before_it_opened_does_not_prolong_it(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 0, 3)
        circuit.failed(9, began=0)
        circuit.failed(11, began=0)
        assert circuit.open_until == 10

    def test_what_was_asked_before_it_closed_does_not_open_it_again(self):
        circuit = Circuit(CONFIG)
        fail(circuit, 1, 3)
        circuit.answered(12, probe=circuit.enter(12))
        for _ in range(5):
            circuit.failed(13, began=0)
        assert circuit.state(13) is CircuitState.CLOSED
        circuit.failed(13, began=12.5)
        assert circuit.state(13) is CircuitState.OPEN

    def test_late_failures_beside_newer_successes_give_a_rest_from_their_beginning(self):
        circuit = Circuit(CONFIG)
        for _ in range(3):
            circuit.succeeded(20, began=15)
        for began in (8, 9, 10):
            circuit.failed(20, began=began)
        assert circuit.open_until == 20  # it is 10 s since the last that failed


def test_a_request_that_is_no_probe_and_is_given_up_does_not_delay_the_next_probe():
    circuit = Circuit(CONFIG)
    for _ in range(CONFIG.failures):
        circuit.failed(0.0)
    circuit.give_up_probe(0)  # it was asked before the circuit opened
    opened_until = circuit.open_until
    probe = circuit.enter(opened_until)
    circuit.give_up_probe(probe)
    assert circuit.may_ask(opened_until)


class Machine(RuleBasedStateMachine):
    """Time goes in slices of the window, so that the model's window and the circuit's are the same."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(CONFIG)
        self.now = 0.0
        self.open_until: float | None = None
        self.opened_at = self.closed_at = self.good_since = -1.0
        self.prober: int | None = None
        self.trusted: int | None = None
        self.on_probation = self.has_let_go = False
        self.level = 0
        self.row: list[float] = []
        self.results: list[tuple[float, bool]] = []
        self.number = 0
        self.before_probe = 0.0

    def next_rest(self):
        self.level += 1
        return min(0.75 * CONFIG.max, CONFIG.base * 2 ** (self.level - 1))

    def close(self):
        self.open_until = self.prober = self.trusted = None
        self.has_let_go = False
        self.closed_at = self.now

    @rule(slices=st.integers(1, 15))
    def time_passes(self, slices):
        self.now += slices * 3.0

    @rule(target=asked)
    def ask(self):
        may = self.open_until is None or self.now >= self.open_until
        assert self.circuit.may_ask(self.now) is may
        if not may:
            return multiple()
        probe = self.circuit.enter(self.now)
        self.number += 1
        assert bool(probe) is (self.open_until is not None)
        if probe:
            self.prober = self.number
            self.open_until = self.now + self.next_rest()
        return (self.number, probe, self.now)

    @rule(one=consumes(asked))
    def succeeds(self, one):
        _, _, began = one
        self.circuit.succeeded(self.now, began=began)
        self.results.append((self.now, True))
        self.good_since = max(self.good_since, began)
        if self.open_until is not None:
            self.results.clear()
            self.close()
        self.on_probation, self.level, self.row = False, 0, []

    @rule(one=consumes(asked))
    def fails(self, one):
        number, probe, began = one
        self.circuit.failed(self.now, began=began, probe=probe)
        if began < self.closed_at and not (probe and number == self.trusted):
            return
        self.results.append((self.now, False))
        if self.row and self.now - self.row[0] > CONFIG.window:
            self.row = []
        self.row.append(self.now)
        recent = [good for at, good in self.results if at > self.now - CONFIG.window]
        bad = recent.count(False)
        enough = len(self.row) >= CONFIG.failures or (bad >= CONFIG.failures and 2 * bad >= len(recent))
        if self.open_until is None and (enough or self.on_probation):
            since = self.now if began >= self.good_since else began
            self.open_until = max(self.now, since + self.next_rest())
            self.opened_at = self.number
        elif self.open_until is None or not (probe and self.prober == number):
            return
        self.prober, self.on_probation, self.has_let_go = None, False, False
        self.row, self.results = [], []

    @rule(one=asked)
    def first_event(self, one):
        number, probe, _ = one
        self.circuit.answered(self.now, probe=probe)
        if probe and self.open_until is not None and number > self.opened_at:
            self.close()
            self.on_probation, self.trusted = True, number

    @rule(one=consumes(asked), says_nothing=st.booleans())
    def ends_without_a_word(self, one, says_nothing):
        number, probe, began = one
        rested_until, had_let_go = self.open_until, self.has_let_go
        if says_nothing:
            self.circuit.release_probe(probe)
        else:
            self.circuit.give_up_probe(probe)
        if probe and self.prober == number:
            self.prober = None
            self.level -= 1
            self.open_until = began
            if not says_nothing:
                self.has_let_go = True
                if had_let_go:
                    self.open_until = min(rested_until, began + CONFIG.base)

    @invariant()
    def agrees(self):
        state = self.circuit.state(self.now)
        if self.open_until is None:
            assert state is CircuitState.CLOSED
        else:
            is_open = self.now < self.open_until and self.prober is None
            assert state is (CircuitState.OPEN if is_open else CircuitState.HALF_OPEN)
        assert self.circuit.open_until == self.open_until
        assert bool(self.circuit.probe) is (self.prober is not None)


TestAgainstAModel = Machine.TestCase
TestAgainstAModel.settings = settings(max_examples=200, stateful_step_count=40)
