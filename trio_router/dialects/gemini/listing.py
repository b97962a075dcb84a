"""`GET /models`, as Gemini answers it and as its clients ask it (ai.google.dev/api/models)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trio_router.dialects.base import ListedModel
from trio_router.dialects.hub import tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZE = 1000  # models a page; the most there may be
# What can be asked: it is not known which of a provider's models do which.
_VERBS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent")


class GeminiListing:
    def path(self, mark: str | None) -> str:
        after = "" if mark is None else f"&pageToken={quote(mark, safe='')}"
        return f"/models?pageSize={_SIZE}{after}"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        record = page if isinstance(page, dict) else {}
        found = record.get("models")
        items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        models = [
            ListedModel(
                item["name"].removeprefix("models/"),
                title=str(item.get("displayName") or ""),
                context=tokens(item.get("inputTokenLimit")),
                output=tokens(item.get("outputTokenLimit")),
                abilities=("thinking",) if item.get("thinking") is True else (),
            )
            for item in items
            if isinstance(item.get("name"), str) and item["name"]
        ]
        mark = record.get("nextPageToken")
        return models, mark if isinstance(mark, str) and mark else None

    def model(self, model: ListedModel) -> dict[str, Any]:
        told: dict[str, Any] = {
            "name": f"models/{model.id}",
            "displayName": model.title or model.id,
            "supportedGenerationMethods": list(_VERBS),
        }
        if model.context:
            told["inputTokenLimit"] = model.context
        if model.output:
            told["outputTokenLimit"] = model.output
        if "thinking" in model.abilities:
            told["thinking"] = True
        return told

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]:
        """All of them, as one page."""
        return {"models": [self.model(model) for model in models]}
