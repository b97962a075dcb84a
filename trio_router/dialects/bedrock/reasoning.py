"""Asked reasoning -> the fields by which each family of models thinks, and room for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import as_dict
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
_LEAST = 1024  # tokens of a budget
DEFAULT_MAX_TOKENS = 4096  # for Claude, which wants a number as soon as it thinks


@dataclass(slots=True)
class Thinking:
    """`more` goes into `additionalModelRequestFields`, `effort` into `outputConfig`."""

    max_tokens: int | None
    more: dict[str, Any] = field(default_factory=dict)
    effort: str | None = None

    @property
    def is_claudes(self) -> bool:
        """Whether Claude thinks, who cannot be told a temperature then."""
        return as_dict(self.more.get("thinking")).get("type") in ("enabled", "adaptive")


def is_claude(model: str) -> bool:
    """Whether a model's name, or an inference profile's, is one of Anthropic's."""
    return "anthropic." in model or "claude" in model


def plan(request: dict[str, Any], model: str, unsupported: Unsupported) -> Thinking:
    """Raises InvalidRequest, which names the field."""
    limit = request.get("max_completion_tokens")
    limit = request.get("max_tokens") if limit is None else limit
    thinking, effort = request.get("thinking"), request.get("reasoning_effort")
    if effort is not None and effort != "none" and effort not in _BUDGETS:
        raise InvalidRequest("reasoning_effort is none that is known", param="reasoning_effort")
    if is_claude(model):
        return _claude(thinking, effort, limit, model, _own_effort(request), unsupported)
    if effort in (None, "none"):
        return Thinking(limit)
    if "nova" in model:
        asked = {"type": "enabled", "maxReasoningEffort": _EFFORTS[effort]}
        return Thinking(limit, {"reasoningConfig": asked})
    if "openai." in model or "gpt-oss" in model:
        return Thinking(limit, {"reasoning_effort": _EFFORTS[effort]})
    unsupported.field("reasoning_effort", f"{model} is not known to think by effort")
    return Thinking(limit)


def _own_effort(request: dict[str, Any]) -> Any:
    """Which a client of the Messages API asks for, with or without thinking."""
    return as_dict(request.get("output_config")).get("effort")


def _claude(
    thinking: Any, effort: Any, limit: Any, model: str, own: Any, unsupported: Unsupported
) -> Thinking:
    found = _CLAUDE.search(model)
    version = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    told = own if isinstance(own, str) else None
    if thinking is not None:
        if not isinstance(thinking, dict):
            raise InvalidRequest("thinking must be an object", param="thinking")
        budget = thinking.get("budget_tokens")
        room = budget if isinstance(budget, int) else 0
        return Thinking(_limit(limit, room), {"thinking": thinking}, told)
    if effort is None or told is not None:
        return Thinking(limit, {}, told)
    if effort == "none":
        return Thinking(limit, {"thinking": {"type": "disabled"}})
    if version >= (4, 6):
        shown = {"display": "summarized"} if version >= (4, 7) else {}
        asked = {"thinking": {"type": "adaptive", **shown}}
        return Thinking(_limit(limit, _BUDGETS[effort]), asked, _EFFORTS[effort])
    return _budgeted(effort, limit, unsupported)


def _budgeted(effort: str, limit: Any, unsupported: Unsupported) -> Thinking:
    budget = _BUDGETS[effort]
    if limit is not None:
        if limit <= _LEAST:
            why = f"thinking needs a max_tokens above {_LEAST}"
            unsupported.field("reasoning_effort", why)
            return Thinking(limit)
        # Thinking counts towards the limit: some of it is left for the answer.
        budget = max(_LEAST, min(budget, int(limit) * 3 // 4))
    return Thinking(_limit(limit, budget), {"thinking": {"type": "enabled", "budget_tokens": budget}})


def _limit(limit: Any, room: int) -> int:
    return DEFAULT_MAX_TOKENS + room if limit is None else int(limit)
