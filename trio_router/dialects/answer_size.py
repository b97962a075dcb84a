"""How long an answer a client allows, in whatever API it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Chat and completions; Responses; Gemini, in its own settings.
_NAMES = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
_SETTINGS = ("generationConfig", "generation_config", "options")
_TOLD = frozenset({*_NAMES, *_SETTINGS})
_MANY = ("n", "candidateCount", "best_of")


def most_answer_tokens(said: Mapping[str, Any]) -> int | None:
    """The most tokens that all answers together may have; None if the client does not say."""
    if said.keys().isdisjoint(_TOLD):
        return None
    places = [said, *(inner for name in _SETTINGS if isinstance(inner := said.get(name), dict))]
    for place in places:
        for name in _NAMES:
            if (most := _count(place.get(name))) is not None:
                return most * max(_count(p.get(many)) or 1 for p in places for many in _MANY)
    return None


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
