"""The models that clients can ask for: those of the configuration and of the providers' lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trio_router.config.patterns import Pattern
from trio_router.dialects.base import ListedModel
from trio_router.routing.route import Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_router.routing.table import RouteTable
    from trio_router.routing.target import Target
    from trio_router.runtime.catalog import Catalog
    from trio_router.runtime.generation import Generation


async def listed_models(generation: Generation, catalog: Catalog) -> list[ListedModel]:
    """All models.  For a provider that does not answer in time, those that were known last."""
    table, clients = generation.table, generation.upstreams.clients
    asked = [(table.whole_provider(name), clients[name]) for name in table.unlisted_providers()]
    lists = await catalog.lists(asked)
    heard = _Heard(catalog)
    named = [_named(generation, heard, name) for name in table.names()]
    theirs = [
        replace(model, id=f"{provider}/{model.id}")
        for provider, models in lists.items()
        for model in models
    ]
    return [*named, *_of_patterns(table, [*named, *theirs]), *theirs]


def _of_patterns(table: RouteTable, known: Sequence[ListedModel]) -> Iterator[ListedModel]:
    """The names that a pattern's targets are known to have, as clients ask for them."""
    told = set()
    for one in table.patterns:
        for wanted in filter(None, (Pattern.of(target.model) for target in one.policy.targets)):
            for model in known:
                star = wanted.star(model.id)
                name = "" if star is None else one.pattern.filled(star)
                if name and name not in told and table.pattern_of(name) is one:
                    told.add(name)
                    yield replace(model, id=name)


def listed_model(generation: Generation, catalog: Catalog, name: str) -> ListedModel:
    """One model, with what is known about it.  Raises ModelNotFound."""
    return _named(generation, _Heard(catalog), name)


def _named(generation: Generation, heard: _Heard, name: str) -> ListedModel:
    asked = generation.table.resolve(name)
    if not isinstance(asked, Route):
        return heard.of(asked)
    found = [(heard.of(one.target), one.context or 0) for one in asked.targets]
    first = found[0][0]
    # What is too long for one target is asked of another one that takes more.
    context = max(declared or model.context for model, declared in found)
    title = "" if asked.is_own else first.title
    return replace(first, id=name, title=title, context=context)


class _Heard:
    """What the providers' own lists say of a target."""

    def __init__(self, catalog: Catalog) -> None:
        self._lists = catalog.known()
        self._by_id: dict[str, dict[str, ListedModel]] = {}

    def of(self, target: Target) -> ListedModel:
        name = target.provider
        if name not in self._by_id:
            self._by_id[name] = {model.id: model for model in self._lists.get(name, ())}
        known = self._by_id[name].get(target.upstream_model)
        return ListedModel(target.name) if known is None else replace(known, id=target.name)
