"""What Claude's generations take, told from a model's name."""

from __future__ import annotations

import re
from typing import Any

# claude-opus-4-7, claude-sonnet-4-5-20250929, claude-3-7-sonnet-20250219, claude-sonnet-5
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def version(model: Any) -> tuple[int, int]:
    """(4, 7) for claude-opus-4-7; (0, 0) for a name that tells none."""
    found = _VERSION.search(model) if isinstance(model, str) else None
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def thinks_adaptively(model: Any) -> bool:
    """From 4.6 on models think by effort; budgets are refused sooner or later ("Adaptive thinking")."""
    return version(model) >= (4, 6)


def takes_system_turns(model: Any) -> bool:
    """ "Mid-conversation system messages": from Opus 4.8 on."""
    return version(model) >= (4, 8)
