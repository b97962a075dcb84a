"""`GET /api/tags`: the models that an Ollama has pulled."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import ListedModel


class OllamaListing:
    def path(self, mark: str | None) -> str:
        return "/api/tags"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        found = page.get("models") if isinstance(page, dict) else None
        items = found if isinstance(found, list) else []
        names = [item.get("name") or item.get("model") for item in items if isinstance(item, dict)]
        return [ListedModel(name) for name in names if isinstance(name, str) and name], None
