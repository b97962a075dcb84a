"""Which models and inference profiles there are, and how many tokens a request has."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from trio_router.dialects.base import ListedModel, Unsupported, UpstreamRequest
from trio_router.dialects.bedrock.request import build_body
from trio_router.dialects.hub import dicts
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import path_segment

_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")
_PROFILES = "profiles"
_SIZE = 1000  # profiles a page; the most there may be


class BedrockListing:
    """`GET /foundation-models`, then `GET /inference-profiles`, of the control plane."""

    def path(self, mark: str | None) -> str:
        if mark is None:
            return "/foundation-models"
        token = mark.removeprefix(_PROFILES)
        after = f"&nextToken={quote(token, safe='')}" if token else ""
        return f"/inference-profiles?maxResults={_SIZE}{after}"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        record = page if isinstance(page, dict) else {}
        if "inferenceProfileSummaries" in record:
            profiles = dicts(record["inferenceProfileSummaries"])
            token = record.get("nextToken")
            mark = f"{_PROFILES}{token}" if isinstance(token, str) and token else None
            return _models(profiles, "inferenceProfileId", "inferenceProfileName"), mark
        summaries = record.get("modelSummaries")
        mark = _PROFILES if isinstance(summaries, list) else None
        return _models(dicts(summaries), "modelId", "modelName"), mark


def _models(items: list[dict[str, Any]], name: str, title: str) -> list[ListedModel]:
    return [
        ListedModel(
            item[name],
            title=str(item.get(title) or ""),
            abilities=("vision",) if "IMAGE" in (item.get("inputModalities") or ()) else (),
        )
        for item in items
        if isinstance(item.get(name), str) and item[name]
    ]


class BedrockCounter:
    """`POST /model/M/count-tokens`."""

    is_guess = False

    def request(self, body: dict[str, Any], base_url: str) -> UpstreamRequest:
        made = build_body(body, Unsupported("Bedrock", drop=True))
        told = {"input": {"converse": {name: made[name] for name in _COUNTED if name in made}}}
        path = f"/model/{path_segment(str(body.get('model')))}/count-tokens"
        return UpstreamRequest(path, dumps(told))

    def tokens(self, record: dict[str, Any]) -> int | None:
        count = record.get("inputTokens")
        return count if isinstance(count, int) and not isinstance(count, bool) else None
