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
    from trio_router.runtime.catalog import Catalog
    from trio_router.runtime.generation import Generation


async def listed_models(generation: Generation, catalog: Catalog) -> list[ListedModel]:
    """All models.  For a provider that does not answer in time, those that were known last."""
    table, clients = generation.table, generation.upstreams.clients
    asked = [(table.whole_provider(name), clients[name]) for name in table.unlisted_providers()]
    lists = await catalog.lists(asked)
    named = [ListedModel(name) for name in table.names()]
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
    found = generation.table.resolve(name)
    if isinstance(found, Route):
        if name in generation.table.routes:
            return ListedModel(name)
        found = found.targets[0].target
    known = catalog.known().get(found.provider, ())
    named = (replace(model, id=name) for model in known if model.id == found.model)
    return next(named, ListedModel(name))
