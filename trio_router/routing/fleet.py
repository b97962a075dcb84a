"""What is remembered about targets from request to request: their health, load and turn."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING

from trio_router.config.patterns import STAR
from trio_router.errors import UpstreamTimeout
from trio_router.routing import balance
from trio_router.routing.affinity import NO_AFFINITY, Place, StoredResponses
from trio_router.routing.balance import Turns
from trio_router.routing.circuit import Circuit, CircuitState
from trio_router.routing.hedge import HedgeBudget
from trio_router.routing.keys import KeyRing
from trio_router.routing.latency import Latency
from trio_router.routing.rest import Rest
from trio_router.routing.retry import Budget, is_blamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_router.config.routes import CooldownConfig
    from trio_router.errors import RouterError
    from trio_router.routing.affinity import Affinity
    from trio_router.routing.route import Route, RouteTarget
    from trio_router.routing.target import Target


_MOST_MADE = 500  # targets that clients' names have made and whose state is kept


class TargetState:
    """The state of one target, in all routes that have it.  Times are seconds of one clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.rest = Rest()  # the provider's last Retry-After
        self.last_error = ""  # the code of its last error
        self.budget = Budget()
        self.latency = Latency()
        self.circuits: dict[CooldownConfig, Circuit] = {}

    def expected(self, now: float) -> float:
        return self.latency.now(now)

    def circuit(self, config: CooldownConfig) -> Circuit:
        if config not in self.circuits:
            self.circuits[config] = Circuit(config)
        return self.circuits[config]

    def state(self, now: float) -> CircuitState:
        """The worst state of its circuits; each route's policy has one."""
        return max((c.state(now) for c in self.circuits.values()), default=CircuitState.CLOSED)

    def health(self, now: float) -> tuple[str, float | None] | None:
        """Its state in words, and until when that holds; None if it is healthy."""
        ends = [c.open_until for c in self.circuits.values() if c.open_until is not None]
        until = max([*ends, self.rest.until])
        state = self.state(now)
        if until > now and (state is not CircuitState.HALF_OPEN or self.rest.until > now):
            return "cooling down", until
        return None if state is CircuitState.CLOSED else ("on trial", None)

    def succeeded(self, now: float, began: float) -> None:
        """A request that began at `began` has got a whole answer."""
        self.rest.end(began)
        for circuit in self.circuits.values():
            circuit.succeeded(now, began=began)

    def failed(
        self,
        error: RouterError,
        now: float,
        began: float,
        probed: Circuit | None = None,
        probe: int = 0,
    ) -> None:
        """A request that began at `began` has failed; it was that probe of the circuit `probed`."""
        self.last_error = error.code
        if is_blamed(error):
            for circuit in self.circuits.values():
                circuit.failed(now, began=began, probe=probe if circuit is probed else 0)
        elif probed is not None:
            probed.release_probe(probe)


class Visit:
    """One attempt as its target's state counts it.  `leave` is called once, whatever happens."""

    def __init__(
        self,
        state: TargetState,
        cooldown: CooldownConfig,
        ring: KeyRing | None,
        key: int,
        now: float,
        *,
        heeds_rest: bool,
    ) -> None:
        self.key = key
        self._state = state
        self._circuit = state.circuit(cooldown)
        self._ring = ring
        self._began = now
        self._probe = self._circuit.enter(now)
        self._most_rest = cooldown.retry_after
        self._probes_rest = heeds_rest and state.rest.enter(now, self._most_rest)
        self._is_decided = False
        self._has_answered = False
        state.in_flight += 1

    def answered(self, now: float) -> None:
        """The first event has come."""
        self._has_answered = True
        self._state.latency.add(now - self._began, now)
        self._circuit.answered(now, probe=self._probe)
        if self._probes_rest:
            self._state.rest.end(self._began)
        if self._ring is not None:
            self._ring.accepted(self.key, now, self._began)

    def succeeded(self, now: float) -> None:
        """A whole answer has come."""
        self._is_decided = True
        self._state.succeeded(now, self._began)
        if self._ring is not None:
            self._ring.accepted(self.key, now, self._began)

    def failed(self, error: RouterError, now: float) -> None:
        self._is_decided = True
        if isinstance(error, UpstreamTimeout) and error.phase == "first_event":
            self._state.latency.add(now - self._began, now)  # it would have taken at least this long
        self._state.failed(error, now, self._began, self._circuit, self._probe)
        if self._probes_rest and not is_blamed(error):
            self._state.rest.give_up_probe(now, self._most_rest)

    def gave_way(self, now: float) -> None:
        """It lost a race: another target answered first."""
        if not self._has_answered:
            self._state.latency.add(now - self._began, now)

    def leave(self, now: float) -> None:
        self._state.in_flight -= 1
        if self._is_decided or self._has_answered:
            return
        self._circuit.give_up_probe(self._probe)
        if self._probes_rest:
            self._state.rest.give_up_probe(now, self._most_rest)


class RouteState:
    """What is remembered about one route."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.hedges = HedgeBudget()


class Fleet:
    """What is known about all targets in the routes of one configuration.

    It keeps the state of targets, routes and keys that are the same in the fleet `before` it.  Requests
    of both configurations share that state while the old ones run.

    `targets` are those that the configuration names.  Of those that clients' names make from a pattern,
    the last used are remembered.
    """

    def __init__(self, routes: Iterable[Route] = (), before: Fleet | None = None) -> None:
        self._patterns: dict[str, tuple[str, str]] = {}  # each name with a star, and its labels
        self._made: OrderedDict[str, tuple[RouteTarget, TargetState]] = OrderedDict()
        self._cooldowns: set[CooldownConfig] = set()  # of all routes
        self.targets: dict[str, TargetState] = {}
        self._known: dict[str, Target] = {}
        self._policies: dict[str, set[CooldownConfig]] = {}
        self._routes: dict[str, tuple[Route, RouteState]] = {}
        self._rings: dict[str, tuple[tuple[Target, ...], KeyRing]] = {}
        self.stored: StoredResponses = StoredResponses() if before is None else before.stored
        for route in routes:
            self._add(route, before)
        if before is not None:
            self._rings = dict(before._rings)
            self._made.update((n, m) for n, m in before._made.items() if n not in self.targets)

    def _add(self, route: Route, before: Fleet | None) -> None:
        for target in route.targets:
            if target.name not in self.targets:
                kept = None if before is None else before._kept(target.target)
                self.targets[target.name] = kept or TargetState()
                self._known[target.name] = target.target
            self._policies.setdefault(target.name, set()).add(route.policy.cooldown)
        for one in route.policy.targets:
            if STAR in one.model:
                provider, _, model = one.model.partition("/")
                self._patterns[one.model] = provider, model
        self._cooldowns.add(route.policy.cooldown)
        known = None if before is None else before._routes.get(route.name)
        self._routes[route.name] = known if known and known[0] == route else (route, RouteState())

    def _kept(self, target: Target) -> TargetState | None:
        """The earlier state of `target`, if it is asked in the same way as before."""
        known = self._known.get(target.name)
        if known is not None:
            return self.targets[target.name] if known.is_asked_like(target) else None
        made = self._made.get(target.name)
        return made[1] if made is not None and made[0].target.is_asked_like(target) else None

    def settle(self) -> None:
        """Drops the circuits of policies that no route has any more."""
        for name, policies in self._policies.items():
            circuits = self.targets[name].circuits
            for gone in circuits.keys() - policies:
                del circuits[gone]
            for policy in policies:
                self.targets[name].circuit(policy)
        for _, state in self._made.values():
            for gone in state.circuits.keys() - self._cooldowns:
                del state.circuits[gone]

    def state(self, target: RouteTarget) -> TargetState:
        state = self.targets.get(target.name)
        if state is not None:
            return state
        # Targets outside of routes are not remembered: a client may have made their names up.
        return self._made_state(target) if target.is_made else TargetState()

    def _made_state(self, target: RouteTarget) -> TargetState:
        known = self._made.get(target.name)
        if known is not None:
            self._made.move_to_end(target.name)
            if known[0] is target or known[0].target.is_asked_like(target.target):
                return known[1]
        elif len(self._made) >= _MOST_MADE:
            self._made.popitem(last=False)
        state = TargetState()
        self._made[target.name] = target, state
        return state

    def find(self, name: str) -> TargetState | None:
        """What is known of a target of any route; None if nothing is."""
        state = self.targets.get(name)
        if state is None and (made := self._made.get(name)) is not None:
            state = made[1]
        return state

    def made(self) -> Iterator[tuple[RouteTarget, TargetState]]:
        """The targets that clients' names have made, as far as they are remembered."""
        yield from self._made.values()

    def shown(self) -> set[str]:
        """The names by which the states of targets are shown: those in the configuration."""
        return self.targets.keys() | self._patterns.keys()

    def states_of_patterns(self, now: float) -> dict[tuple[str, str], CircuitState]:
        """The worst state of the targets that each pattern has made, by provider and model."""
        worst = dict.fromkeys(self._patterns.values(), CircuitState.CLOSED)
        for target, state in self._made.values():
            if target.labels in worst:
                worst[target.labels] = max(worst[target.labels], state.state(now))
        return worst

    def route(self, route: Route) -> RouteState:
        known = self._routes.get(route.name)
        if known is None:
            known = self._routes[route.name] = route, RouteState()
        return known[1]

    def ring(self, target: Target) -> KeyRing | None:
        """The keys of the target's provider; None if it has only one, or none."""
        if not target.keyed:
            return None
        known = self._rings.get(target.provider)
        if known is None or not _have_same_keys(known[0], target.keyed):
            known = self._rings[target.provider] = target.keyed, KeyRing(_key_names(target.keyed))
        return known[1]

    def order(
        self,
        route: Route,
        now: float,
        random: Callable[[], float],
        affinity: Affinity = NO_AFFINITY,
    ) -> list[RouteTarget]:
        """The route's targets in the order in which they are asked."""
        targets = route.targets
        if len(targets) == 1:
            return list(targets)
        same = affinity.sticky or (affinity.conversation if route.spreads else None)
        if same:
            order = balance.sticky(same, route.called, route.weights)
        else:
            order = self._by_strategy(route, now, random)
        found = [targets[index] for index in order]
        if (place := self.stored.find(affinity.continues)) is not None:
            found.sort(key=lambda target: target.name != place.target)
        return found

    def _by_strategy(self, route: Route, now: float, random: Callable[[], float]) -> list[int]:
        loads = [self.state(target) for target in route.targets]
        match route.policy.strategy:
            case "weighted":
                return balance.weighted(route.weights, random)
            case "round_robin":
                return self.route(route).turns.next(route.called, route.weights)
            case "least_in_flight":
                return balance.least_in_flight(loads, route.weights, random)
            case "lowest_latency":
                return balance.lowest_latency(loads, now, random)
        return list(range(len(route.targets)))

    def visit(
        self, route: Route, target: RouteTarget, now: float, affinity: Affinity = NO_AFFINITY
    ) -> Visit:
        state = self.state(target)
        ring = self.ring(target.target)
        key = 0 if ring is None else ring.pick(now, affinity.of_keys, self._key_of(affinity, target))
        return Visit(state, route.policy.cooldown, ring, key, now, heeds_rest=route.is_own)

    def _key_of(self, affinity: Affinity, target: RouteTarget) -> str | None:
        """The name of the key that a stored response is reached with."""
        place = self.stored.find(affinity.continues)
        return place.key if place is not None and place.target == target.name else None

    def has_stored(self, response: str, target: RouteTarget, key: int) -> None:
        """The target has answered with a response, asked with key `key`, which it may have stored."""
        ring = self.ring(target.target)
        self.stored.add(response, Place(target.name, None if ring is None else ring.names[key]))


def _key_names(keyed: tuple[Target, ...]) -> list[str]:
    """Names that tell the keys of one provider apart, from which nobody learns the keys."""
    told = (repr(sorted(target.headers.items())).encode() for target in keyed)
    return [sha256(one).hexdigest()[:16] for one in told]


def _have_same_keys(one: tuple[Target, ...], other: tuple[Target, ...]) -> bool:
    # Targets of one provider share their headers' values; mostly it is the same tuple.
    return one is other or [(t.base_url, t.headers) for t in one] == [
        (t.base_url, t.headers) for t in other
    ]
