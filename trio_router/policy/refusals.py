"""How a client is told of a ceiling that was reached, and of how near the others are."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING

from trio_router.errors import InsufficientQuota, RateLimited, TargetLimited, TargetSpent
from trio_router.ledger.ceilings import MINUTE, Counting
from trio_router.money import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.errors import RouterError
    from trio_router.ledger.ceilings import Ceiling, Refused

_WHOSE = {
    "key": "this key",
    "team": "this key's team",
    "key_model": "this key and this model",
    "team_model": "this key's team and this model",
    "provider": "the provider",
    "model": "the model",
}
_TARGETS = frozenset({"provider", "model"})
_WHAT = {
    Counting.REQUESTS: "requests a minute",
    Counting.TOKENS: "tokens a minute",
    Counting.PARALLEL: "requests at a time",
}


def refusal(refused: Refused) -> RouterError:
    """The error for a ceiling that was reached."""
    ceiling = refused.ceiling
    is_targets = ceiling.scope in _TARGETS
    if ceiling.kind is Counting.BUDGET:
        return (TargetSpent if is_targets else InsufficientQuota)(_spent(ceiling))
    error = (TargetLimited if is_targets else RateLimited)(_limited(ceiling, refused))
    if refused.after is None:
        error.is_final = True  # it asks for more than there ever is
    else:
        error.retry_after = str(max(1, ceil(refused.after)))
    if not is_targets:
        error.headers = dict(_told(ceiling, 0, refused.after))
    return error


def _spent(ceiling: Ceiling) -> str:
    whose = _WHOSE[ceiling.scope]
    text = f"the budget of {whose}, {plain(ceiling.most)} US dollars, has no room for this request"
    if ceiling.ends is None:
        return text
    return f"{text}; the next one begins at {datetime.fromtimestamp(ceiling.ends, UTC):%Y-%m-%dT%H:%MZ}"


def _limited(ceiling: Ceiling, refused: Refused) -> str:
    limit = f"{ceiling.most} {_WHAT[ceiling.kind]} for {_WHOSE[ceiling.scope]}"
    if refused.after is None:
        return f"this request alone is more than the limit of {limit}"
    return f"the limit of {limit} is reached; try again in {max(1, ceil(refused.after))} s"


def ratelimit_headers(ceilings: Iterable[tuple[Ceiling, int]]) -> dict[str, str]:
    """`x-ratelimit-*` as OpenAI has them, for each kind of limit the one with the least left.

    The ceilings come with what is left of them.
    """
    nearest: dict[Counting, tuple[Ceiling, int]] = {}
    for ceiling, left in ceilings:
        if ceiling.kind.slides and ceiling.scope not in _TARGETS:
            known = nearest.get(ceiling.kind)
            if known is None or left < known[1]:
                nearest[ceiling.kind] = ceiling, left
    found: dict[str, str] = {}
    for ceiling, left in nearest.values():
        found.update(_told(ceiling, left, MINUTE if left < ceiling.most else 0))
    return found


def _told(ceiling: Ceiling, left: int, reset: float | None) -> Iterable[tuple[str, str]]:
    if ceiling.kind.slides:
        kind = ceiling.kind.value
        yield f"x-ratelimit-limit-{kind}", str(ceiling.most)
        yield f"x-ratelimit-remaining-{kind}", str(left)
        if reset is not None:
            yield f"x-ratelimit-reset-{kind}", f"{ceil(reset)}s"
