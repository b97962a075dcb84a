"""Which target one request asks next, and which error the client gets when none is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_router.errors import (
    InvalidRequest,
    NetworkError,
    Overloaded,
    ProviderAuthError,
    RouterError,
    TargetsUnavailable,
    UpstreamStatus,
    UpstreamTimeout,
)
from trio_router.routing.rest import MOST_TOLD
from trio_router.routing.retry import (
    Verdict,
    backoff,
    may_pass,
    retry_after,
    status_of,
    told_retry_after,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_router.routing.fleet import Fleet
    from trio_router.routing.route import Route, RouteTarget

_SHORT_REST = 1.0  # s that a key is skipped after a 429 without Retry-After


@dataclass(frozen=True, slots=True)
class Step:
    """Ask `target` after `delay` seconds."""

    target: RouteTarget
    delay: float = 0.0


class Plan:
    """One request's way along the targets of its route.

    `order` is the targets, the preferred first.  Each is asked once, and retried at most
    `retry.attempts` times (and once more for each key that is refused), so a plan always ends.  A
    target that gave way in a race has not failed: it is asked again if the winner fails.
    """

    def __init__(self, route: Route, order: Sequence[RouteTarget], fleet: Fleet) -> None:
        self._route = route
        self._order = order
        self._fleet = fleet
        self._retry = route.policy.retry
        self._most_rest = route.policy.cooldown.retry_after
        self._tries: dict[str, int] = {}
        self._failures: list[tuple[RouteTarget, RouterError]] = []
        self._spent: set[str] = set()  # targets that are not asked again
        self._waited: set[str] = set()  # targets whose Retry-After was waited for: once is enough
        self._least_context = -1  # tokens: only targets with more may be asked; -1: any
        self._again: Step | None = None
        self._is_over = False
        self._torn: RouterError | None = None

    def next(self, now: float) -> Step | None:
        """What to do next; None: tell the client `error()`."""
        again, self._again = self._again, None
        if self._is_over:
            return None
        if again is not None:
            return again
        soonest: Step | None = None
        for target in self._order:
            if not self._is_open(target, now):
                continue
            rest = self._rest(target, now)
            if rest <= 0:
                return Step(target)
            # Waiting for the next probe of a long Retry-After would mostly be in vain.
            ends_in = self._fleet.state(target).rest.until - now
            can_wait = ends_in <= self._retry.retry_after_max and target.name not in self._waited
            if can_wait and (soonest is None or rest < soonest.delay):
                soonest = Step(target, rest)
        if soonest is not None:
            self._waited.add(soonest.target.name)
        return soonest

    def rival(self, now: float) -> RouteTarget | None:
        """A target to race against the one that is being asked; None if there is none."""
        for target in self._order:
            is_new = target.name not in self._tries and self._is_open(target, now)
            if is_new and self._fleet.state(target).rest.wait(now, self._most_rest) <= 0:
                return target
        return None

    def may_begin(self, target: RouteTarget, now: float) -> bool:
        """Whether a step is still possible after its delay.  If so, it counts as a try.

        If it is not, other requests have found the target down meanwhile: ask for the next step.
        """
        state = self._fleet.state(target)
        if not state.circuit(self._route.policy.cooldown).may_ask(now):
            self._spent.add(target.name)
            return False
        if self._route.is_own and state.rest.is_kept_from(now, self._most_rest):
            return False
        if target.name not in self._tries:
            state.budget.deposit(self._retry.budget)
        self._tries[target.name] = self._tries.get(target.name, 0) + 1
        return True

    def failed(
        self,
        target: RouteTarget,
        error: RouterError,
        now: float,
        *,
        key: int,
        wall: float,
        random: Callable[[], float],
    ) -> None:
        """An attempt failed before any of its answer reached the client.

        `key` is the index of the key it used.  `wall` is the Unix time, for dates in `Retry-After`.
        """
        self._failures.append((target, error))
        if self._torn is not None:
            self._spent.add(target.name)
            return
        decision = verdict(error)
        if decision is Verdict.FILTERED and self._route.policy.content_filter == "fallback":
            decision = Verdict.NEXT
        match decision:
            case Verdict.CLIENT | Verdict.FILTERED:
                self._is_over = True
            case Verdict.LARGER:
                self._spent.add(target.name)
                self._least_context = max(self._least_context, target.context or 0)
            case Verdict.NEXT:
                self._again = self._with_other_key(target, error, now, key)
                if self._again is None:
                    self._spent.add(target.name)
            case Verdict.AGAIN:
                patience = retry_after(error.retry_after, wall)
                self._again = self._after_a_while(target, error, now, key, patience, random)
                if self._again is None:
                    self._spent.add(target.name)
        most = min(self._most_rest, MOST_TOLD)
        error.retry_after = told_retry_after(error.retry_after, wall, most)

    def torn(self, target: RouteTarget, error: RouterError) -> None:
        """The answer broke off after a part of it had reached the client.

        From now on each other target is asked once; with `midstream: prefill` only targets that can
        continue a given beginning.
        """
        self._failures.append((target, error))
        self._torn = self._torn or error
        self._again = None
        self._spent.add(target.name)
        self._is_over = self._route.policy.midstream == "error"

    def give_up(self) -> None:
        """No target can continue what reached the client."""
        self._is_over = True

    def error(self, now: float) -> RouterError:
        """The most informative of all failures; its message lists what was tried."""
        if not self._failures:
            return self._unavailable(now)
        telling = self._torn
        if telling is None:
            places = range(len(self._failures))
            best = max(places, key=lambda i: (_telling(self._failures[i][1], is_first=i == 0), -i))
            telling = self._failures[best][1]
        if len(self._failures) > 1:
            telling = telling.saying(f"{telling.message} (tried {self._tried()})")
        return telling

    # -- inside

    def _rest(self, target: RouteTarget, now: float) -> float:
        """The seconds until the target's Retry-After is over."""
        return self._fleet.state(target).rest.wait(now, self._most_rest) if self._route.is_own else 0.0

    def _is_open(self, target: RouteTarget, now: float) -> bool:
        if target.name in self._spent:
            return False
        if self._torn is not None and self._route.policy.midstream == "prefill" and not target.prefill:
            return False
        if self._least_context >= 0 and (target.context or 0) <= self._least_context:
            return False
        return self._fleet.state(target).circuit(self._route.policy.cooldown).may_ask(now)

    def _with_other_key(
        self, target: RouteTarget, error: RouterError, now: float, key: int
    ) -> Step | None:
        ring = self._fleet.ring(target.target)
        if ring is None or not isinstance(error, ProviderAuthError):
            return None
        ring.refused(key, now)
        is_worth_it = (
            ring.has_ready(now) and self._tries[target.name] < len(ring) + self._retry.attempts
        )
        return Step(target) if is_worth_it else None

    def _after_a_while(
        self,
        target: RouteTarget,
        error: RouterError,
        now: float,
        key: int,
        patience: float | None,
        random: Callable[[], float],
    ) -> Step | None:
        ring, state = self._fleet.ring(target.target), self._fleet.state(target)
        tries = self._tries[target.name]
        has_other_key = False
        if ring is not None and status_of(error) == 429:
            ring.rest(key, now, patience or _SHORT_REST)
            has_other_key = ring.has_ready(now)
        if patience is not None and not has_other_key:
            state.rest.ask(now, patience, is_probe=state.rest.until - now > self._most_rest)
        most = self._retry.attempts + (len(ring) - 1 if ring is not None and has_other_key else 0)
        if tries > most:
            return None
        if has_other_key:
            return Step(target)
        if patience is not None and patience > self._retry.retry_after_max:
            return None
        delay = max(patience or 0.0, backoff(tries, self._retry, random))
        circuit = state.circuit(self._route.policy.cooldown)
        if not circuit.may_ask(now + delay) or not state.budget.take(now):
            return None
        return Step(target, delay)

    def _unavailable(self, now: float) -> RouterError:
        states = [self._fleet.state(target) for target in self._order]
        cooldown = self._route.policy.cooldown
        waits = [
            max(s.rest.wait(now, self._most_rest), (s.circuit(cooldown).open_until or now) - now)
            for s in states
        ]
        reasons = ", ".join(
            f"{target.name}: {state.last_error}" if state.last_error else target.name
            for target, state in zip(self._order, states, strict=True)
        )
        return TargetsUnavailable(
            f"every target of {self._route.name} is in cooldown after failures ({reasons})",
            retry_after=str(max(1, math.ceil(min(min(waits), MOST_TOLD)))),
        )

    def _tried(self) -> str:
        tried: dict[str, list[str]] = {}
        for target, error in self._failures:
            tried.setdefault(target.name, []).append(_briefly(error))
        return "; ".join(f"{name}: {', '.join(briefs)}" for name, briefs in tried.items())


def _telling(error: RouterError, *, is_first: bool) -> int:
    """How well an error explains why there is no answer; more is better."""
    match error:
        case Overloaded() | InvalidRequest():
            return 0  # a limit of the router's or of the provider's
        case UpstreamTimeout() | NetworkError():
            return 2  # silence
        case UpstreamStatus() if not is_first and error.status < 500 and not may_pass(error.status):
            return 1  # a later target's objection to the request
    return 3  # the provider's own error


def _briefly(error: RouterError) -> str:
    match error:
        case UpstreamStatus():
            return str(error.status)
        case UpstreamTimeout():
            return f"{error.phase} timeout"
        case NetworkError():
            return "network error"
    return error.code
