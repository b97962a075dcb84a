"""A Messages request as InvokeModel takes it: the path has the model and `stream`, the body betas."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.hub import unscoped

VERSION = "bedrock-2023-05-31"
_BETAS = "anthropic-beta"
# Fields that are refused without their beta.
_FIELDS = {"context_management": "context-management-", "mcp_servers": "mcp-client-"}


def invoked_body(body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """`headers` are the client's own, with the betas that may be asked for."""
    betas = [beta for beta in map(str.strip, headers.get(_BETAS, "").split(",")) if beta]
    told = {
        name: value
        for name, value in unscoped(body).items()
        if name not in ("model", "stream")
        and (name not in _FIELDS or any(beta.startswith(_FIELDS[name]) for beta in betas))
    }
    told.setdefault("anthropic_version", VERSION)
    asked = told.get("anthropic_beta")
    if betas:
        own = asked if isinstance(asked, list) else []
        told["anthropic_beta"] = [*own, *(beta for beta in betas if beta not in own)]
    return told
