"""Asked reasoning -> `thinkingConfig`.

Levels and budgets are those of Google's own table ("OpenAI compatibility: Thinking").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.models import must_think, thinks, thinks_by_level
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}  # tokens
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}


def thinking(request: dict[str, Any], unsupported: Unsupported) -> dict[str, Any] | None:
    """None: as the model does by itself.  Raises InvalidRequest, which names the field."""
    effort, model = request.get("reasoning_effort"), request.get("model")
    if effort is None:
        return None
    if effort != "none" and effort not in _BUDGETS:
        raise InvalidRequest("reasoning_effort is none that is known", param="reasoning_effort")
    if effort == "none":
        if must_think(model):
            unsupported.field("reasoning_effort", "this model cannot be kept from thinking")
            return None
        return {"thinkingBudget": 0} if thinks(model) else None
    if not thinks(model):
        unsupported.field("reasoning_effort", "this model does not think")
        return None
    if thinks_by_level(model):
        level = _LEVELS[effort]
        if level == "minimal" and "-pro" in str(model):  # which knows none below `low`
            level = "low"
        return {"thinkingLevel": level, "includeThoughts": True}
    return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": True}
