"""`GET /models` of Cohere (docs.cohere.com/reference/list-models)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from trio_router.dialects.base import ListedModel
from trio_router.dialects.hub import tokens

_SIZE = 1000  # models a page; the most there may be


class CohereListing:
    def path(self, mark: str | None) -> str:
        after = "" if mark is None else f"&page_token={quote(mark, safe='')}"
        return f"/models?page_size={_SIZE}{after}"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        record = page if isinstance(page, dict) else {}
        found = record.get("models")
        items = found if isinstance(found, list) else []
        mark = record.get("next_page_token")
        models = [
            ListedModel(name, context=tokens(item.get("context_length")))
            for item in items
            if isinstance(item, dict) and isinstance(name := item.get("name"), str) and name
        ]
        return models, mark if isinstance(mark, str) and mark else None
