"""Clients that generations share: made once, counted, closed when nobody holds them any more."""

from __future__ import annotations

import pytest

from trio_router.config.file import parse_config
from trio_router.runtime.clients import SharedClients
from trio_router.transport import StreamTransport

BOUNDED = '{base_url: "http://a", max_in_flight: 2, max_queue: 3}'


class Transport(StreamTransport):
    """One that opens nothing, and notes that it was closed."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.closes = 0

    def close(self) -> None:
        self.closes += 1
        super().close()


class Shared(SharedClients):
    def __init__(self) -> None:
        self.transports: list[Transport] = []
        super().__init__(self._new)

    def _new(self) -> Transport:
        self.transports.append(Transport())
        return self.transports[-1]

    @property
    def closes(self) -> list[int]:
        return [transport.closes for transport in self.transports]


def providers(**each: str):
    text = "".join(f"  {name}: {fields}\n" for name, fields in each.items())
    return parse_config(f"providers:\n{text}", {}).providers


A = providers(a='{base_url: "http://a"}')


def test_an_unchanged_provider_keeps_its_client():
    shared = Shared()
    first, second = shared.take(A), shared.take(A)
    assert first["a"] is second["a"]
    assert len(shared) == len(shared.transports) == 1


@pytest.mark.parametrize(
    "changed",
    [
        'a: {base_url: "http://b"}',
        'b: {base_url: "http://a"}',
        'a: {base_url: "http://a", max_in_flight: 2}',
    ],
)
def test_another_place_name_or_bound_makes_another_client(changed):
    shared = Shared()
    name, _, fields = changed.partition(": ")
    assert shared.take(providers(**{name: fields}))[name] is not shared.take(A)["a"]
    assert len(shared) == 2


@pytest.mark.parametrize("more", ["api_key: other", "timeouts: {read: 3}", "models: {x: {}}"])
def test_what_a_request_says_may_change_and_the_connections_stay(more):
    shared = Shared()
    changed = providers(a=f'{{base_url: "http://a", {more}}}')
    assert shared.take(A)["a"] is shared.take(changed)["a"]


def test_a_client_is_closed_when_its_last_holder_lets_go():
    shared = Shared()
    shared.take(A)
    shared.take(A)
    shared.release(A)
    assert shared.closes == [0]
    shared.release(A)
    assert shared.closes == [1]
    assert len(shared) == 0


def test_only_what_nobody_holds_is_closed():
    shared = Shared()
    both = providers(a='{base_url: "http://a"}', b='{base_url: "http://b"}')
    shared.take(both)
    shared.take(A)
    shared.release(both)
    assert shared.closes == [0, 1]


def test_a_provider_that_comes_back_gets_a_new_client():
    shared = Shared()
    first = shared.take(A)["a"]
    shared.release(A)
    assert shared.take(A)["a"] is not first
    assert shared.closes == [1, 0]


def test_the_end_closes_all_of_them_held_or_not():
    shared = Shared()
    shared.take(providers(a='{base_url: "http://a"}', b=BOUNDED))
    shared.close()
    assert shared.closes == [1, 1]


def test_new_limits_reach_the_gate_that_is_in_use():
    shared = Shared()
    shared.take(providers(a=BOUNDED))
    (known,) = shared._all()
    gate = known.gate
    assert (gate.admission._limit, gate.admission._queue) == (2, 3)
    shared.take(providers(a='{base_url: "http://a", max_in_flight: 5, max_queue: 0}'))
    assert known.gate is gate
    assert (gate.admission._limit, gate.admission._queue) == (5, 0)
