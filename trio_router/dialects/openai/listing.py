"""`GET /models`, as OpenAI and its cousins answer it, and as their clients ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import ListedModel

if TYPE_CHECKING:
    from collections.abc import Sequence


class OpenAIListing:
    def path(self, mark: str | None) -> str:
        return "/models"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        """Together gives the bare array."""
        found = page.get("data") if isinstance(page, dict) else page
        items = found if isinstance(found, list) else []
        return [_model(item) for item in items if isinstance(item, dict) and _is_named(item)], None

    def model(self, model: ListedModel) -> dict[str, Any]:
        provider, slash, _ = model.id.partition("/")
        owner = provider if slash else "trio-router"  # a route
        return {"id": model.id, "object": "model", "created": model.created, "owned_by": owner}

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]:
        return {"object": "list", "data": [self.model(model) for model in models]}


def _is_named(item: dict[str, Any]) -> bool:
    return isinstance(item.get("id"), str) and bool(item["id"])


def _model(item: dict[str, Any]) -> ListedModel:
    created = item.get("created")
    return ListedModel(item["id"], int(created) if isinstance(created, int | float) else 0)
