"""`GET /models`, as Anthropic answers it and as its clients ask it ("List Models" in the reference)."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trio_router.dialects.base import ListedModel
from trio_router.dialects.hub import tokens
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        told: dict[str, Any] = {
            "type": "model",
            "id": model.id,
            "display_name": model.title or model.id,
            "created_at": _date(model.created),
        }
        limits = {"max_input_tokens": model.context, "max_tokens": model.output}
        return told | {name: limit for name, limit in limits.items() if limit}

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]:
        """All of them, as one page."""
        return self._told(models, has_more=False)

    def page(self, models: Sequence[ListedModel], query: Mapping[str, str]) -> dict[str, Any]:
        """Without `limit` all that come after `after_id` or before `before_id`."""
        limit = _limit(query.get("limit"))
        ids = [model.id for model in models]
        if (before := query.get("before_id")) is not None:
            rest = models[: _place(ids, before, "before_id")]
            return self._told(rest[-limit:], has_more=len(rest) > limit)
        after = query.get("after_id")
        rest = models if after is None else models[_place(ids, after, "after_id") + 1 :]
        return self._told(rest[:limit], has_more=len(rest) > limit)

    def _told(self, models: Sequence[ListedModel], *, has_more: bool) -> dict[str, Any]:
        return {
            "data": [self.model(model) for model in models],
            "has_more": has_more,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        }


def _limit(given: str | None) -> int:
    if given is None:
        return sys.maxsize
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= _SIZE):
        raise InvalidRequest(f"limit must be from 1 to {_SIZE}", param="limit")
    return int(given)


def _place(ids: list[str], mark: str, name: str) -> int:
    if mark not in ids:
        raise InvalidRequest(f"{name}: there is no such model", param=name)
    return ids.index(mark)


def _model(item: dict[str, Any]) -> ListedModel:
    try:
        created = int(datetime.fromisoformat(str(item.get("created_at"))).timestamp())
    except ValueError:
        created = 0
    return ListedModel(
        item["id"],
        created,
        str(item.get("display_name") or ""),
        tokens(item.get("max_input_tokens")),
        tokens(item.get("max_tokens")),
    )


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a provider's number that is no such time
        return _date(0)
