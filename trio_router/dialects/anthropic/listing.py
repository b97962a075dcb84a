"""`GET /models`, as Anthropic answers it and as its clients ask it ("List Models" in the reference)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trio_router.dialects.base import ListedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZE = 1000  # models a page; the most there may be


class AnthropicListing:
    def path(self, mark: str | None) -> str:
        after = "" if mark is None else f"&after_id={quote(mark, safe='')}"
        return f"/models?limit={_SIZE}{after}"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        record = page if isinstance(page, dict) else {}
        found = record.get("data")
        items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        models = [_model(item) for item in items if isinstance(item.get("id"), str) and item["id"]]
        last = record.get("last_id")
        return models, last if record.get("has_more") and isinstance(last, str) and last else None

    def model(self, model: ListedModel) -> dict[str, Any]:
        return {
            "type": "model",
            "id": model.id,
            "display_name": model.title or model.id,
            "created_at": _date(model.created),
        }

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]:
        """All of them, as one page."""
        return {
            "data": [self.model(model) for model in models],
            "has_more": False,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        }


def _model(item: dict[str, Any]) -> ListedModel:
    try:
        created = int(datetime.fromisoformat(str(item.get("created_at"))).timestamp())
    except ValueError:
        created = 0
    return ListedModel(item["id"], created, str(item.get("display_name") or ""))


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a provider's number that is no such time
        return _date(0)
