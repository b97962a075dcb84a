"""From the model names that clients send to targets and routes."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from trio_router.config.schema import ModelConfig
from trio_router.dialects import DIALECTS
from trio_router.dialects.answer import ReadingRules
from trio_router.errors import InvalidRequest, ModelNotFound
from trio_router.routing.route import Route, implicit_route, keyed, target_of
from trio_router.routing.target import Target
from trio_router.wire.names import name_complaint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_router.config.schema import Config, ProviderConfig


_COMPARED = 500  # names that a wrong one is compared with: a thousand would take milliseconds
_LONGEST_NAME = 512  # characters; each name is kept, compared, logged and sent in a header
_REMEMBERED = 1000  # cached targets of names that are just passed on; others are made for each request


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
        self.routes = {name: route for name in config.routes if (route := self._route(name))}
        # A provider with several keys is asked with one after another.
        self._by_keys = {n: implicit_route(t) for n, t in self._known.items() if t.keyed}

    def resolve(self, name: str) -> Target | Route:
        """The target (`provider/model`) or the route that `name` means.

        Raises ModelNotFound, whose message suggests similar names.
        """
        if (route := self.routes.get(name) or self._by_keys.get(name)) is not None:
            return route
        target = self.target(name)
        if not target.keyed:
            return target
        route = implicit_route(target)
        if len(self._by_keys) < _REMEMBERED:
            self._by_keys[name] = route
        return route

    def first(self, name: str) -> Target:
        """Like `target`; for a route its first target: for requests that cannot be retried."""
        route = self.routes.get(name)
        return self.target(name) if route is None else route.targets[0].target

    def target(self, name: str) -> Target:
        """The target that `name` (`provider/model`) means.

        Raises ModelNotFound, whose message suggests similar names, and InvalidRequest for a bad name.
        """
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
        raise ModelNotFound(self._complaint(name, provider_name, provider), param="model")

    def whole_provider(self, name: str) -> Target:
        """The target of a request to a provider without a model.  Raises KeyError."""
        return self._target(name, self._config.providers[name], "")

    def names(self) -> list[str]:
        """Every route and model that the configuration names, in the form that clients send."""
        return [*self.routes, *self._known]

    def unlisted_providers(self) -> list[str]:
        """The providers whose models the configuration does not name."""
        return [n for n, p in self._config.providers.items() if p.models is None]

    def _complaint(self, name: str, provider: str, known: ProviderConfig | None) -> str:
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
        dialect = DIALECTS[provider.dialect]
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

    def _route(self, name: str) -> Route | None:
        """A route; None while none of its targets exists (the embedded provider is added later)."""
        policy = self._config.routes[name]
        targets = [
            target_of(settings, self.target(settings.model), policy)
            for settings in policy.targets
            if settings.model.partition("/")[0] in self._config.providers
        ]
        return Route(name, tuple(targets), policy, self._config.timeouts) if targets else None


def native_apis(provider: ProviderConfig, model: str) -> dict[str, str]:
    """The clients' APIs that a provider speaks itself, each with its path under the base URL.

    Requests in these APIs pass through.  `model` is the upstream's name of the model.
    """
    has = {"responses": provider.has_responses, "completions": provider.has_completions}
    paths = DIALECTS[provider.dialect].native_paths(model, provider.query)
    return {api: path for api, path in paths.items() if has.get(api, True)}


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
