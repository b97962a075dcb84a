"""The configuration of routes, and complaints that need the rest of the configuration."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trio_router.config.kinds import embedded_in
from trio_router.config.patterns import STAR, matches_any, name_complaints, star_complaint
from trio_router.config.section import Seconds, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    Complaint = tuple[tuple[str | int, ...], str]

Share = Annotated[float, Field(gt=0, le=1)]
Whole = Annotated[int, Field(ge=1)]


class RouteTargetConfig(Section):
    model: str  # provider/model; a star in the model is what the star of the route's name stands for
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    context: Whole | None = None  # tokens; None: unknown
    prefill: bool = False  # it goes on from an assistant message at the end


class RetryConfig(Section):
    attempts: Annotated[int, Field(ge=0, le=20)] = 2  # more tries on one target
    base: Seconds = 0.5
    max: Seconds = 8
    retry_after_max: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2  # retries, as a share of the target's requests


class HedgeConfig(Section):
    after: Seconds | Literal["p95"]
    share: Share = 0.1


class CooldownConfig(Section):
    failures: Whole = 3
    window: Seconds = 30
    base: Seconds = 10
    max: Seconds = 20  # from a target's recovery to its use, at most
    retry_after: Seconds = 300  # a longer Retry-After is probed each so many seconds


class DrainConfig(Section):
    seconds: Seconds = 20
    max: Whole = 10


class OnDisconnect(Section):
    drain: DrainConfig


def _sticky(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"key|user|header:[A-Za-z0-9_-]+", value):
        return value.lower()
    raise ValueError("must be key, user or header:NAME, such as header:x-session-id")


def _off_is_a_word(value: Any) -> Any:
    return "off" if value is False else value  # which is what YAML reads


def _cancel_is_no_drain(value: Any) -> Any:
    return None if value == "cancel" else value


class RouteConfig(Section):
    """A model name that the router makes itself: see README, "Routes"."""

    targets: Annotated[tuple[RouteTargetConfig, ...], Field(min_length=1)]
    strategy: Literal["fallback", "weighted", "round_robin", "least_in_flight", "lowest_latency"] = (
        "fallback"
    )
    sticky: Annotated[str | None, BeforeValidator(lambda v: v if v is None else _sticky(v))] = None
    affinity: Annotated[Literal["auto", "off"], BeforeValidator(_off_is_a_word)] = "auto"
    retry: RetryConfig = Field(default_factory=RetryConfig)
    first_event: Seconds | None = 10
    hedge: HedgeConfig | None = None
    commit: Literal["first_event", "complete"] = "first_event"
    midstream: Literal["error", "replay", "prefill"] = "error"
    content_filter: Literal["error", "fallback"] = "error"
    on_disconnect: Annotated[OnDisconnect | None, BeforeValidator(_cancel_is_no_drain)] = None
    cooldown: CooldownConfig = Field(default_factory=CooldownConfig)


def route_complaints(config: dict[str, Any]) -> Iterator[Complaint]:
    """Complaints about the routes of a configuration, beyond their own shape.

    Values of a wrong type are skipped; the schema complains about them.
    """
    routes = _mapping(config.get("routes"))
    yield from name_complaints(routes)
    for name, route in routes.items():
        models = [_mapping(target).get("model") for target in _list(_mapping(route).get("targets"))]
        for number, model in enumerate(models):
            place = ("routes", name, "targets", number, "model")
            if isinstance(model, str):
                if model in models[:number]:
                    yield place, f"{model} is a target of this route already"
                elif complaint := star_complaint(name, model) or _unknown(model, config, routes):
                    yield place, complaint
        yield from _of_settings(("routes", name), _mapping(route), len(models))


def _of_settings(place: tuple[str, ...], route: dict[str, Any], count: int) -> Iterator[Complaint]:
    if route.get("hedge") is not None and count == 1:
        yield (*place, "hedge"), "there is no second target to race"
    if route.get("midstream") in ("replay", "prefill"):
        kind = route["midstream"]
        if route.get("commit") == "complete":
            yield (*place, "midstream"), f"{kind} is of no use with commit: complete"
        declares = [t for t in _list(route.get("targets")) if _mapping(t).get("prefill")]
        if kind == "prefill" and not declares:
            yield (*place, "midstream"), "no target declares prefill: true"


def _unknown(name: str, config: dict[str, Any], routes: dict[str, Any]) -> str:
    if name in routes:
        return f"{name} is a route; a route's targets are provider/model"
    providers = _mapping(config.get("providers"))
    provider, slash, model = name.partition("/")
    if model and provider in embedded_in(_mapping(config.get("server"))):
        return ""
    settings = providers.get(provider)
    if provider in providers and slash and model:
        listed = _mapping(settings).get("models")
        if listed is None or model in _mapping(listed) or _mapping(settings).get("pass_through"):
            return ""
        if STAR in model:
            return "" if matches_any(model, _mapping(listed)) else f"no model of {provider} is {model}"
    known = [f"{p}/{m}" for p, s in providers.items() for m in _mapping(_mapping(s).get("models"))]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near and (near := difflib.get_close_matches(provider, list(providers), n=1, cutoff=0.5)):
        near = [f"{near[0]}/{model}" if model else f"{near[0]}/..."]
    return f"there is no model {name}" + (f"; did you mean {near[0]}?" if near else "")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
