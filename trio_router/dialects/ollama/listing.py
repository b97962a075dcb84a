"""`GET /api/tags`: the models that an Ollama has pulled."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trio_router.dialects.base import ListedModel


class OllamaListing:
    def path(self, mark: str | None) -> str:
        return "/api/tags"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        found = page.get("models") if isinstance(page, dict) else None
        items = found if isinstance(found, list) else []
        return [
            ListedModel(name, _seconds(item.get("modified_at")))
            for item in items
            if isinstance(item, dict)
            and isinstance(name := item.get("name") or item.get("model"), str)
            and name
        ], None


def _seconds(date: Any) -> int:
    """When it was pulled; 0 if that is not told."""
    try:
        return int(datetime.fromisoformat(str(date)).timestamp())
    except (ValueError, OverflowError):
        return 0
