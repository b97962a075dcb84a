"""Reasoning: what the hub's messages have of it, and how it travels in `encrypted_content`.

A client sends reasoning items back as they are.  Signatures, and whatever else a provider wants to see
again in the next turn, are in there as the hub has them, so nothing has to be remembered here.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from trio_router.dialects.hub import dicts, text_of
from trio_router.wire.jsoncodec import JSONError, dumps, loads

Detail = dict[str, Any]
_SEAL = "trio1."
_FOREIGN = "openai-responses-v1"  # the format that others know sealed reasoning of this API by


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """A piece of reasoning: text of either kind, and what of `reasoning_details` came with it."""

    text: str = ""
    is_summary: bool = False
    detail: Detail | None = None


def thoughts(message: dict[str, Any]) -> list[ReasoningPiece]:
    """The reasoning in a message or a delta, in whichever field it stands.

    Details and plain text say the same: where the details have text, it is theirs that counts.
    """
    made = [_thought(detail) for detail in dicts(message.get("reasoning_details"))]
    if any(thought.text for thought in made):
        return made
    text = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(text, str) or not text:
        text = text_of(message.get("content"))[1]
    return [ReasoningPiece(text), *made] if text else made


def _thought(detail: Detail) -> ReasoningPiece:
    for name, is_summary in (("text", False), ("summary", True)):
        text = detail.get(name)
        if isinstance(text, str) and text:
            return ReasoningPiece(text, is_summary, detail)
    return ReasoningPiece(detail=detail)


def is_sealed(details: list[Detail]) -> bool:
    """Whether there is something in them that the text alone does not say."""
    return any(detail.get("signature") or detail.get("data") for detail in details)


def seal(content: dict[str, Any]) -> str:
    return _SEAL + base64.b64encode(dumps(content)).decode()


def unseal(text: str, item_id: Any) -> dict[str, Any]:
    """What `seal` was given; another's sealed reasoning as a detail of its format.

    Raises ValueError if ours has been changed.
    """
    if not text.startswith(_SEAL):
        detail = {"type": "reasoning.encrypted", "data": text, "format": _FOREIGN}
        return {"details": [detail | ({"id": item_id} if isinstance(item_id, str) else {})]}
    try:
        value = loads(base64.b64decode(text[len(_SEAL) :], validate=True))
    except (binascii.Error, JSONError):
        raise ValueError("not what was sealed") from None
    if not isinstance(value, dict):
        raise ValueError("not what was sealed")
    return value
