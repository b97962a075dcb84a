"""The models that clients can ask for: those of the configuration and of the providers' lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trio_router.dialects.base import ListedModel

if TYPE_CHECKING:
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
    return named + [
        replace(model, id=f"{provider}/{model.id}")
        for provider, models in lists.items()
        for model in models
    ]


def listed_model(generation: Generation, catalog: Catalog, name: str) -> ListedModel:
    """One model, with what is known about it.  Raises ModelNotFound."""
    return _named(generation, _Heard(catalog), name)


def _named(generation: Generation, heard: _Heard, name: str) -> ListedModel:
    route = generation.table.routes.get(name)
    if route is None:
        return heard.of(generation.table.target(name))
    found = [(heard.of(one.target), one.context or 0) for one in route.targets]
    first = found[0][0]
    # What is too long for one target is asked of another one that takes more.
    context = max(declared or model.context for model, declared in found)
    return replace(first, id=name, title="", context=context)


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
