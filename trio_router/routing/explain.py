"""A route in plain words, for `trio-router check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.config.patterns import DEFAULT, STAR
from trio_router.routing.table import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.config.routes import RouteConfig
    from trio_router.config.schema import Config
    from trio_router.routing.route import Route

_ORDER = {
    "fallback": "in this order",
    "weighted": "one at random by weight first, then the others",
    "round_robin": "each first in turn, by weight, then the others",
    "least_in_flight": "the one with the fewest open answers for its weight first, then the others",
    "lowest_latency": "the faster of two random ones first, then the others",
}
_MIDSTREAM = {
    "error": "the client is told in the stream",
    "replay": "each other target gets the same request and continues if its text equals what was sent",
    "prefill": "a target with prefill continues what was sent",
}


def explain_routes(config: Config) -> Iterator[str]:
    """Lines that say what a request for each route goes through, in that order."""
    table = RouteTable(config)
    patterns = {one.name: table.filled(one, STAR) for one in table.patterns}
    routes = {**table.routes, **patterns}
    exact = [name for name in config.routes if name not in patterns]
    for name in [*exact, *patterns]:  # patterns in the order in which they are looked at
        policy = config.routes[name]
        yield f"  {name}: {_ORDER[policy.strategy]}"
        yield from _names(name)
        if policy.sticky:
            yield f"    sticky: requests with the same {policy.sticky} go to the same target first"
        yield from _affinity(policy, config)
        yield from _targets(policy, routes.get(name), config)
        yield from _before(policy)
        yield from _after(policy)


def _names(route: str) -> Iterator[str]:
    if STAR in route:
        yield "    the names that it matches, unless they are a provider/model or have their own route"
    elif route == DEFAULT:
        yield "    also for every name that no route and no provider has"


def _affinity(policy: RouteConfig, config: Config) -> Iterator[str]:
    names = {target.model.partition("/")[0] for target in policy.targets}
    has_keys = any(len(config.providers[n].keys) > 1 for n in names if n in config.providers)
    what = ["target"] if policy.strategy != "fallback" and len(policy.targets) > 1 else []
    what += ["key"] if has_keys else []
    if what and policy.affinity == "off":
        yield f"    affinity: off; each request of a conversation may get another {' and '.join(what)}"
    elif what:
        yield f"    affinity: the requests of a conversation have one {' and '.join(what)}"


def _targets(policy: RouteConfig, route: Route | None, config: Config) -> Iterator[str]:
    limits = {t.name: t.target.timeouts.first_event for t in route.targets} if route else {}
    for number, target in enumerate(policy.targets, 1):
        words = [f"    {number}. {target.model}"]
        if len(policy.targets) > 1 and (policy.strategy != "fallback" or policy.sticky):
            words.append(f"weight {target.weight:g}")
        limit = limits.get(target.model, policy.first_event)
        words.append("no limit to the first event" if limit is None else f"first event in {limit:g} s")
        if target.context:
            words.append(f"context of {target.context} tokens")
        if target.prefill:
            words.append("prefill")
        provider = config.providers.get(target.model.partition("/")[0])
        if provider is not None and len(provider.keys) > 1:
            words.append(f"{len(provider.keys)} keys in turn")
        if provider is not None and provider.max_in_flight is not None:
            words.append(f"at most {provider.max_in_flight} at once")
        yield ", ".join(words)


def _before(policy: RouteConfig) -> Iterator[str]:
    retry, cooldown = policy.retry, policy.cooldown
    if retry.attempts:
        yield (
            f"    retried on the same target: up to {retry.attempts} times after a lost connection,"
            " 408, 409, 425, 429, 5xx, or a stream that fails before its first event"
        )
        yield (
            f"      after up to {retry.base:g} s, doubling to {retry.max:g} s; Retry-After counts up to"
            f" {retry.retry_after_max:g} s; retries are at most {retry.budget:.0%} of its requests"
        )
    else:
        yield "    retried on the same target: never"
    yield "    next target at once: silence, refused keys, unknown models, full queues"
    sizes = [t.context for t in policy.targets if t.context]
    too_long = "the client's error" if not sizes else "next target with a larger context, if any"
    yield f"    prompt too long: {too_long}; other 4xx: the client's error"
    filtered = "the client's error" if policy.content_filter == "error" else "next target"
    yield f"    a content filter's refusal: {filtered}"
    if policy.hedge is not None:
        after = policy.hedge.after
        when = "the 95th percentile of its recent ones" if after == "p95" else f"{after:g} s"
        yield (
            f"    hedge: a second target is asked after {when} without a first event, "
            f"for at most {policy.hedge.share:.0%} of the streams"
        )
    yield (
        f"    cooldown: after {cooldown.failures} failures in {cooldown.window:g} s a target is "
        f"skipped for {cooldown.base:g} s; then one request probes it: back within {cooldown.max:g} s"
    )
    yield f"      a Retry-After of more than {cooldown.retry_after:g} s is probed every so many seconds"


def _after(policy: RouteConfig) -> Iterator[str]:
    if policy.commit == "complete":
        yield "    commit: nothing is sent before the whole answer is good"
    else:
        yield f"    if a target breaks off after its first event: {_MIDSTREAM[policy.midstream]}"
    if policy.on_disconnect is None:
        yield "    if the client leaves: the upstream is closed at once"
    else:
        drain = policy.on_disconnect.drain
        yield (
            f"    if the client leaves: the upstream may finish within {drain.seconds:g} s, "
            f"{drain.max} of them at one time"
        )
