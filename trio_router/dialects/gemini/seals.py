"""Thought signatures of a client's parts: Google's own, and other providers' reasoning in their place.

The API's clients send the signatures of a model's parts back as they are.  What another provider wants
to see again with a turn (Anthropic's signed thinking) travels as such a signature.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from trio_router.dialects.hub import dicts
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import JSONError, dumps, loads

Detail = dict[str, Any]  # one of the hub's `reasoning_details`

_MARK = b"trio-router:"  # in base64 without padding, so that its beginning is always the same
_BEGINNING = base64.b64encode(_MARK).decode()
# What clients put where they have no signature ("Thought signatures": it is not checked then).
_NONE = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
_NONE_IN_BASE64 = frozenset(base64.b64encode(word.encode()).decode().rstrip("=") for word in _NONE)


def sealed(details: list[Detail]) -> str:
    """In the alphabet that Python's SDK gives signatures back in."""
    return base64.urlsafe_b64encode(_MARK + dumps(details)).decode()


def unsealed(signature: str, place: str) -> list[Detail] | None:
    """What `sealed` was given; None for a signature of somebody else's.

    Raises InvalidRequest for one of ours that has been changed.
    """
    if not signature.startswith(_BEGINNING):
        return None
    plain = signature.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        value = loads(text.removeprefix(_MARK))
    except (binascii.Error, JSONError):
        value = None
    if not isinstance(value, list) or len(dicts(value)) != len(value):
        raise InvalidRequest(f"{place} has been changed", param=place)
    return value


def is_none(signature: str) -> bool:
    """Whether it says that there is no signature."""
    return signature in _NONE or signature.rstrip("=") in _NONE_IN_BASE64
