"""Asked reasoning -> `thinking`, `output_config.effort` and a `max_tokens` that has room for it.

Rules from "Extended thinking", "Adaptive thinking" and "Effort" (platform.claude.com/docs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.models import thinks_adaptively, version
from trio_router.dialects.anthropic.words import BUDGETS, MIN_BUDGET
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

DEFAULT_MAX_TOKENS = 4096  # the API wants a number, OpenAI's clients seldom give one
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


@dataclass(frozen=True, slots=True)
class ThinkingPlan:
    max_tokens: int
    thinking: dict[str, Any] | None = None
    effort: str | None = None

    @property
    def is_on(self) -> bool:
        return self.thinking is not None and self.thinking.get("type") != "disabled"


def plan(request: dict[str, Any], unsupported: Unsupported) -> ThinkingPlan:
    """Raises InvalidRequest, which names the field."""
    limit = request.get("max_completion_tokens")
    limit = request.get("max_tokens") if limit is None else limit
    thinking, effort = request.get("thinking"), request.get("reasoning_effort")
    if effort is not None and effort != "none" and effort not in _EFFORTS:
        raise InvalidRequest("reasoning_effort is none that is known", param="reasoning_effort")
    if thinking is not None:
        return _as_asked(thinking, effort, limit, request.get("model"))
    own = request.get("output_config")
    if effort is None or (isinstance(own, dict) and "effort" in own):
        return ThinkingPlan(_limit(limit))  # a client of the API's own, which asked for no thinking
    if effort == "none":
        return ThinkingPlan(_limit(limit), {"type": "disabled"})
    if thinks_adaptively(request.get("model")):
        told = _effort(effort, request.get("model"))
        return ThinkingPlan(_limit(limit, BUDGETS[effort]), _adaptive(request.get("model")), told)
    return _budgeted(effort, limit, unsupported)


def _as_asked(thinking: Any, effort: str | None, limit: Any, model: Any) -> ThinkingPlan:
    """The client's own `thinking`; the effort beside it counts where the API takes both."""
    if not isinstance(thinking, dict):
        raise InvalidRequest("thinking must be an object", param="thinking")
    if thinking.get("type") == "adaptive":
        told = _effort(effort, model) if effort in _EFFORTS else None
        return ThinkingPlan(
            _limit(limit, BUDGETS[effort or "high"] if effort != "none" else 0), thinking, told
        )
    budget = thinking.get("budget_tokens")
    if isinstance(budget, bool) or not isinstance(budget, int | None):
        where = "thinking.budget_tokens"
        raise InvalidRequest(f"{where} must be an integer", param=where)
    return ThinkingPlan(_limit(limit, budget or 0), thinking)


def _budgeted(effort: str, limit: Any, unsupported: Unsupported) -> ThinkingPlan:
    budget = BUDGETS[effort]
    if limit is not None:
        if limit <= MIN_BUDGET:
            why = f"thinking needs a max_tokens above {MIN_BUDGET}"
            unsupported.field("reasoning_effort", why)
            return ThinkingPlan(_limit(limit))
        # Thinking counts towards max_tokens: some of them are left for the answer.
        budget = max(MIN_BUDGET, min(budget, int(limit) * 3 // 4))
    return ThinkingPlan(_limit(limit, budget), {"type": "enabled", "budget_tokens": budget})


def _adaptive(model: Any) -> dict[str, Any]:
    """From 4.7 on the text of thinking is left out unless asked for."""
    shown = {"display": "summarized"} if version(model) >= (4, 7) else {}
    return {"type": "adaptive", **shown}


def _effort(effort: str | None, model: Any) -> str:
    told = _EFFORTS[effort or "high"]
    # `xhigh` came with 4.7.
    return "high" if told == "xhigh" and version(model) < (4, 7) else told


def _limit(limit: Any, budget: int = 0) -> int:
    return DEFAULT_MAX_TOKENS + budget if limit is None else int(limit)
