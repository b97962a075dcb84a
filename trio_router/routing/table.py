"""From the model names that clients send to targets and routes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trio_router.config.patterns import DEFAULT, STAR, Pattern
from trio_router.config.schema import ModelConfig
from trio_router.dialects import dialect_at
from trio_router.dialects.answer import ReadingRules
from trio_router.errors import InvalidRequest, ModelNotFound
from trio_router.routing.route import Route, implicit_route, keyed, target_of
from trio_router.routing.target import Target
from trio_router.wire.names import name_complaint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_router.config.routes import RouteConfig
    from trio_router.config.schema import Config, ProviderConfig
    from trio_router.routing.route import RouteTarget


_COMPARED = 500  # names that a wrong one is compared with: a thousand would take milliseconds
_LONGEST_NAME = 512  # characters; each name is kept, compared, logged and sent in a header
_REMEMBERED = 1000  # cached targets of names that are just passed on; others are made for each request


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A route whose name has a star."""

    name: str
    pattern: Pattern
    policy: RouteConfig


class RouteTable:
    """All models and routes that clients can ask for.

    `heard` gives the names in the providers' own lists, to suggest what a wrong name may have meant.
    """

    def __init__(self, config: Config, heard: Callable[[], Iterable[str]] = tuple) -> None:
        self._config = config
        self._heard = heard
        self._known: dict[str, Target] = {}
        self._passed: dict[str, Target] = {}  # targets that the configuration does not name
        for name, provider in config.providers.items():
            for model in provider.models or ():
                self._known[f"{name}/{model}"] = self._target(name, provider, model)
        exact = {name: policy for name, policy in config.routes.items() if STAR not in name}
        self.routes = {n: route for n, policy in exact.items() if (route := self._route(n, policy))}
        self.patterns = _patterns(config)
        self._matched: dict[str, Route] = {}  # of names that a pattern has
        # A provider with several keys is asked with one after another.
        self._by_keys = {n: implicit_route(t) for n, t in self._known.items() if t.keyed}

    def resolve(self, name: str) -> Target | Route:
        """The target (`provider/model`) or the route that `name` means.

        An exact name comes before patterns, and the route `default` is the last.  Raises ModelNotFound,
        whose message suggests similar names, and InvalidRequest for a bad name.
        """
        route = self.routes.get(name) or self._by_keys.get(name) or self._matched.get(name)
        if route is not None:
            return route
        target = self._find(name)
        if target is None:
            if (route := self._by_pattern(name)) is not None:
                return route
            raise self._not_found(name)
        if not target.keyed:
            return target
        route = implicit_route(target)
        if len(self._by_keys) < _REMEMBERED:
            self._by_keys[name] = route
        return route

    def first(self, name: str) -> Target:
        """Like `target`; for a route its first target: for requests that cannot be retried."""
        found = self.resolve(name)
        return found.targets[0].target if isinstance(found, Route) else found

    def target(self, name: str) -> Target:
        """The target that `name` (`provider/model`) means.

        Raises ModelNotFound, whose message suggests similar names, and InvalidRequest for a bad name.
        """
        target = self._find(name)
        if target is None:
            raise self._not_found(name)
        return target

    def _find(self, name: str) -> Target | None:
        if (target := self._known.get(name) or self._passed.get(name)) is not None:
            return target
        if len(name) > _LONGEST_NAME:
            raise ModelNotFound(f"no model's name has more than {_LONGEST_NAME} letters", param="model")
        provider_name, slash, model = name.partition("/")
        if slash and model and (complaint := name_complaint(name)):
            raise InvalidRequest(f"The model's name {name!r} {complaint}", param="model")
        provider = self._config.providers.get(provider_name)
        if slash and model and provider is not None and provider.takes_any_model:
            target = self._target(provider_name, provider, model)
            if len(self._passed) < _REMEMBERED:
                self._passed[name] = target
            return target
        return None

    def pattern_of(self, name: str) -> NamePattern | None:
        """The pattern whose route `name` means; None if it means something else."""
        provider, slash, model = name.partition("/")
        known = self._config.providers.get(provider)
        is_plain = bool(slash and model and known is not None and known.takes_any_model)
        if is_plain or STAR in name or name in self.routes or name in self._known:
            return None
        return next((one for one in self.patterns if one.pattern.star(name) is not None), None)

    def filled(self, one: NamePattern, star: str) -> Route | None:
        """A pattern's route where its star is `star`; None if none of its targets has such a model."""
        return self._route(one.name, one.policy, star)

    def standing(self) -> list[Route]:
        """Every route, with the targets that the configuration names.

        Of a pattern's targets these are the ones without a star.
        """
        bare = [
            Route(one.name, self._targets(one.policy, None), one.policy, self._config.timeouts)
            for one in self.patterns
        ]
        return [*self.routes.values(), *bare]

    def whole_provider(self, name: str) -> Target:
        """The target of a request to a provider without a model.  Raises KeyError."""
        return self._target(name, self._config.providers[name], "")

    def names(self) -> list[str]:
        """Every route and model that the configuration names, in the form that clients send."""
        return [*self.routes, *self._known]

    def unlisted_providers(self) -> list[str]:
        """The providers whose models the configuration does not name."""
        return [n for n, p in self._config.providers.items() if p.models is None]

    def _not_found(self, name: str) -> ModelNotFound:
        provider = name.partition("/")[0]
        known = self._config.providers.get(provider)
        return ModelNotFound(self._complaint(name, provider, known), param="model")

    def _complaint(self, name: str, provider: str, known: ProviderConfig | None) -> str:
        if self.patterns and STAR in name:
            return f"The model {name[:200]!r} is a pattern; ask for a name that it matches"
        heard = list(self._heard())
        near = [one for one in heard if one.partition("/")[2] == name][:3]
        if not near:
            near = _near(name, [*self.names(), *heard[:_COMPARED]])
        if not near and known is None:
            near = [f"{p}/..." for p in _near(provider, self._config.providers)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"The model {name[:200]!r} does not exist{hint}"

    def _target(self, provider_name: str, provider: ProviderConfig, model: str) -> Target:
        config = (provider.models or {}).get(model)
        settings = config or ModelConfig()
        dialect = dialect_at(provider.dialect, provider.place)
        own = {k.lower(): v.get_secret_value() for k, v in provider.headers.items()}
        headers = [{**dialect.auth_headers(key), **own} for key in provider.keys] or [own]
        stream = self._config.stream
        target = Target(
            provider=provider_name,
            model=model,
            upstream_model=settings.upstream_model or model,
            base_url=provider.base_url,
            dialect=dialect,
            headers=headers[0],
            timeouts=self._config.timeouts.with_overrides(provider.timeouts, settings.timeouts),
            rules=ReadingRules(
                max_event=stream.max_event,
                invalid_utf8=stream.invalid_utf8,
                malformed_event=stream.malformed_event,
                lenient_end=provider.is_lenient,
            ),
            ask_usage=provider.asks_usage,
            drop_unsupported=provider.drop_unsupported,
            query=provider.query,
            native=native_apis(provider, settings.upstream_model or model),
            defaults=settings.defaults,
            options=settings.options,
            is_listed=config is not None,
            betas=provider.known_betas,
            has_tokenize=provider.can_tokenize,
            has_own_first_event=any(
                "first_event" in timeouts.model_fields_set
                for timeouts in (provider.timeouts, settings.timeouts)
            ),
        )
        return replace(target, keyed=keyed(target, headers)) if len(headers) > 1 else target

    def _route(self, name: str, policy: RouteConfig, star: str | None = None) -> Route | None:
        """A route; None while none of its targets exists (the embedded provider is added later).

        `star` is what the stars of its targets stand for; None: those targets are left out.
        """
        targets = self._targets(policy, star)
        return Route(name, targets, policy, self._config.timeouts) if targets else None

    def _targets(self, policy: RouteConfig, star: str | None) -> tuple[RouteTarget, ...]:
        found: dict[str, RouteTarget] = {}
        for settings in policy.targets:
            if star is None and STAR in settings.model:
                continue
            target = self._find(settings.model.replace(STAR, star or ""))
            if target is not None and target.name not in found:
                found[target.name] = target_of(settings, target, policy)
        return tuple(found.values())

    def _by_pattern(self, name: str) -> Route | None:
        """The route of the most specific pattern with a target for `name`, else `default`."""
        default = self.routes.get(DEFAULT)
        if not name or (not self.patterns and default is None):
            return None
        if complaint := name_complaint(name):
            raise InvalidRequest(f"The model's name {name!r} {complaint}", param="model")
        if STAR in name:
            return None
        for one in self.patterns:
            star = one.pattern.star(name)
            if star is not None and (route := self.filled(one, star)) is not None:
                if len(self._matched) >= _REMEMBERED:
                    self._matched.clear()
                self._matched[name] = route
                return route
        return default


def _patterns(config: Config) -> list[NamePattern]:
    """The routes whose names have a star, the most specific first."""
    found = [
        NamePattern(name, pattern, policy)
        for name, policy in config.routes.items()
        if (pattern := Pattern.of(name)) is not None
    ]
    return sorted(found, key=lambda one: one.pattern.specificity, reverse=True)


def native_apis(provider: ProviderConfig, model: str) -> dict[str, str]:
    """The clients' APIs that a provider speaks itself, each with its path under the base URL.

    Requests in these APIs pass through.  `model` is the upstream's name of the model.
    """
    has = {"responses": provider.has_responses, "completions": provider.has_completions}
    paths = dialect_at(provider.dialect, provider.place).native_paths(model, provider.query)
    return {api: path for api, path in paths.items() if has.get(api, True)}


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
