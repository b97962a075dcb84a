"""Claude on Google's Vertex AI: `models/MODEL:rawPredict` and `:streamRawPredict`.

The model is in the path and the version in the body; all else is the Messages API.  From "Claude on
Vertex AI" (platform.claude.com/docs) and Google's reference of `rawPredict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.request import build_body
from trio_router.dialects.base import TokenCounter, Unsupported, UpstreamRequest
from trio_router.dialects.hub import unscoped
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import path_segment

VERSION = "vertex-2023-10-16"
_COUNT = "/models/count-tokens:rawPredict"
_COUNTED = ("messages", "system", "tools", "tool_choice", "thinking")
_HERE = ("model", "anthropic_version")  # told by the path, or always the same
_BETAS = "anthropic-beta"
# Fields that are refused without their beta.
_FIELDS = {"context_management": "context-management-", "mcp_servers": "mcp-client-"}

if TYPE_CHECKING:
    from collections.abc import Mapping


def model_path(model: str) -> str:
    return f"/models/{path_segment(model).replace('%40', '@')}"  # claude-sonnet-4@20250514


def build_request(body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
    """The upstream's request for a chat request of the hub."""
    made = build_body(body, Unsupported("Anthropic", drop=drop_unsupported))
    return predicted(model_path(str(body.get("model"))), made, {})


def predicted(path: str, body: dict[str, Any], headers: Mapping[str, str]) -> UpstreamRequest:
    """The request with a `body` of the Messages API; `path` is the model's."""
    betas = headers.get(_BETAS, "")
    told = {
        name: value
        for name, value in unscoped(body).items()
        if name not in _HERE and (name not in _FIELDS or _FIELDS[name] in betas)
    }
    verb = "streamRawPredict" if body.get("stream") else "rawPredict"
    sent = {_BETAS: betas} if betas else {}
    return UpstreamRequest(f"{path}:{verb}", dumps({"anthropic_version": VERSION, **told}), sent)


class VertexCounter(TokenCounter):
    """Of Claude's tokens on Vertex AI: the model is in the body there."""

    is_guess = False

    def request(self, body: dict[str, Any], base_url: str) -> UpstreamRequest:
        made = build_body(body, Unsupported("Anthropic", drop=True))
        told = {name: made[name] for name in _COUNTED if name in made}
        asked = {"anthropic_version": VERSION, "model": body.get("model"), **told}
        return UpstreamRequest(_COUNT, dumps(asked))

    def tokens(self, record: dict[str, Any]) -> int | None:
        count = record.get("input_tokens")
        return count if isinstance(count, int) and not isinstance(count, bool) else None
