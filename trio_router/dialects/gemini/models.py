"""What Gemini's generations take, told from a model's name."""

from __future__ import annotations

import re
from typing import Any

# gemini-2.5-flash-lite, models/gemini-3-pro-preview, gemini-3.5-flash
_VERSION = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)")


def version(model: Any) -> tuple[int, int] | None:
    """(2, 5) for gemini-2.5-pro; None for a name that tells none, such as gemini-flash-latest."""
    found = _VERSION.search(model) if isinstance(model, str) else None
    return (int(found[1]), int(found[2] or 0)) if found else None


def thinks_by_level(model: Any) -> bool:
    """From 3 on thinking has levels; before it, and where nothing is known, a budget does."""
    return (version(model) or (0, 0)) >= (3, 0)


def thinks(model: Any) -> bool:
    """Models before 2.5 do not."""
    return (version(model) or (9, 0)) >= (2, 5)


def must_think(model: Any) -> bool:
    """ "You cannot turn off thinking" for 2.5 Pro and from 3 on."""
    return thinks_by_level(model) or (version(model) == (2, 5) and "-pro" in str(model))


def asks_for_signatures(model: Any) -> bool:
    """From 3 on a call without its thought signature is refused ("Thought signatures")."""
    return thinks_by_level(model)


def takes_media_in_results(model: Any) -> bool:
    """ "Multimodal function responses": from 3 on."""
    return thinks_by_level(model)
