"""A route: its targets, and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trio_router.config.patterns import STAR
from trio_router.config.routes import CooldownConfig, RetryConfig, RouteConfig, RouteTargetConfig

if TYPE_CHECKING:
    from trio_router.config.schema import Timeouts
    from trio_router.routing.target import Target


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """One target of a route.  `context` is in tokens, None if unknown.

    `called` is the configuration's own name of it.  In a pattern's route it may have a star; then
    `is_made` is true: its `name` is made from what a client asked for, and there may be any number of
    such names.
    """

    target: Target
    called: str
    weight: float = 1.0
    context: int | None = None
    prefill: bool = False
    is_made: bool = False

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def labels(self) -> tuple[str, str]:
        """Its provider and model, for metrics; a client can make no more of them."""
        provider, _, model = self.called.partition("/")
        return provider, model


@dataclass(frozen=True, slots=True)
class Route:
    """A model name that stands for several targets.

    A pattern's route is made anew for each name that it matches; its own `name` is the pattern.
    `is_own` is False for a plain model whose provider has several keys.  It is handled as a route of
    one target, which is asked once with each key; nothing else of a route applies.
    """

    name: str
    targets: tuple[RouteTarget, ...]
    policy: RouteConfig
    timeouts: Timeouts  # the client's side of the answer: early_commit, keepalive, pool
    is_own: bool = True

    @property
    def weights(self) -> list[float]:
        return [target.weight for target in self.targets]

    @property
    def names(self) -> list[str]:
        return [target.name for target in self.targets]

    @property
    def called(self) -> list[str]:
        return [target.called for target in self.targets]

    @property
    def spreads(self) -> bool:
        """Whether its strategy chooses among the targets, and is not an order of preference."""
        return self.policy.strategy != "fallback"

    @property
    def has_affinity(self) -> bool:
        """Whether a request may have to go where others went."""
        return self.policy.affinity != "off" and (len(self.targets) > 1 or self.has_keys)

    @property
    def parts_conversations(self) -> bool:
        """Whether conversations are parted among its targets, or among keys."""
        return (self.spreads and len(self.targets) > 1) or self.has_keys

    @property
    def has_keys(self) -> bool:
        """Whether one of the providers has several keys."""
        return any(target.target.keyed for target in self.targets)

    @property
    def keeps_request(self) -> bool:
        """Whether the request may be retried after its answer has begun."""
        return self.policy.midstream != "error"


def target_of(config: RouteTargetConfig, target: Target, route: RouteConfig) -> RouteTarget:
    """A target with its route's limits.

    The route's `first_event` counts; if the route sets none, the one of the target's model or provider
    counts before the route's default.
    """
    is_said = "first_event" in route.model_fields_set
    if is_said or not target.has_own_first_event:
        timeouts = target.timeouts.model_copy(update={"first_event": route.first_event})
        target = target.with_timeouts(timeouts)
    if route.midstream != "error":
        target = target.without_native()  # what was sent must be comparable, in the hub's shape
    is_made = STAR in config.model
    return RouteTarget(target, config.model, config.weight, config.context, config.prefill, is_made)


def implicit_route(target: Target) -> Route:
    """The route of a plain model whose provider has several keys."""
    policy = RouteConfig(
        targets=(RouteTargetConfig(model=target.name),),
        retry=RetryConfig(attempts=0),
        cooldown=CooldownConfig(failures=1_000_000_000),
    )
    targets = (RouteTarget(target, target.name),)
    return Route(target.name, targets, policy, target.timeouts, is_own=False)


def with_key(target: Target, index: int) -> Target:
    """The target with key `index` of its provider."""
    return target.keyed[index] if target.keyed else target


def keyed(target: Target, headers: list[dict[str, str]]) -> tuple[Target, ...]:
    return tuple(replace(target, headers=each) for each in headers)
