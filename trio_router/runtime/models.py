"""The models that clients can ask for: those of the configuration and of the providers' lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trio_router.dialects.base import ListedModel

if TYPE_CHECKING:
    from trio_router.runtime.catalog import Catalog
    from trio_router.runtime.generation import Generation


async def listed_models(generation: Generation, catalog: Catalog) -> list[ListedModel]:
    """All models.  For a provider that does not answer in time, those that were known last."""
    table, clients = generation.table, generation.upstreams.clients
    asked = [(table.whole_provider(name), clients[name]) for name in table.unlisted_providers()]
    lists = await catalog.lists(asked)
    named = [ListedModel(name) for name in table.names()]
    return named + [
        replace(model, id=f"{provider}/{model.id}")
        for provider, models in lists.items()
        for model in models
    ]


def listed_model(generation: Generation, catalog: Catalog, name: str) -> ListedModel:
    """One model, with what is known about it.  Raises ModelNotFound."""
    if name in generation.table.routes:
        return ListedModel(name)
    target = generation.table.target(name)
    known = catalog.known().get(target.provider, ())
    found = (replace(model, id=target.name) for model in known if model.id == target.model)
    return next(found, ListedModel(target.name))
