"""The hub's reasoning, calls and refusals, as the blocks of the Messages API want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.words import FORMAT, Block
from trio_router.dialects.hub import as_dict, dicts, tool_input as tool_input
from trio_router.wire.jsoncodec import dumps_text, loads_text

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity


CALL_EXTRA = "tool-call-extra"  # the format that `extra_block` seals with


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of reasoning.  `index` tells one block's pieces from the next one's; None: the same."""

    text: str = ""
    signature: str = ""
    data: str | None = None  # of a redacted block
    index: Any = None


def reasoning(message: dict[str, Any]) -> list[Thought]:
    """The reasoning in a message or a delta, in whichever field it stands.

    Details and plain text say the same; the details have the signatures, so they come first.
    """
    pieces = [_thought(detail) for detail in dicts(message.get("reasoning_details"))]
    known = [p for p in pieces if p.text or p.signature or p.data]
    if any(p.text for p in known):
        return known
    text = message.get("reasoning_content") or message.get("reasoning")
    return [Thought(text), *known] if isinstance(text, str) and text else known


def _thought(detail: dict[str, Any]) -> Thought:
    text = detail.get("text") or detail.get("summary") or ""
    index = detail.get("index")
    data = detail.get("data")
    return Thought(
        text if isinstance(text, str) else "",
        sealed(detail.get("signature"), detail),
        sealed(data, detail) if isinstance(data, str) and data else None,
        index if index is not None else detail.get("id"),
    )


def sealed(value: Any, detail: dict[str, Any]) -> str:
    """A signature, with the name of the format before it where it is not the API's own.

    A client sends signatures back as they are, so the format is still known in the next turn.
    """
    if not isinstance(value, str) or not value:
        return ""
    kind = detail.get("format")
    return value if kind in (None, FORMAT) else f"{kind}:{value}"


def unsealed(value: str) -> tuple[str, str]:
    """Format and signature of what `sealed` gave.  The API's own are base64: no colon in them."""
    kind, colon, rest = value.partition(":")
    return (kind, rest) if colon else (FORMAT, value)


def call_extra(call: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a call has beside itself: the API's own fields, and those of other providers."""
    extra = as_dict(call.get("extra_content"))
    foreign = {k: v for k, v in extra.items() if k != "anthropic"}
    return as_dict(extra.get("anthropic")), foreign


def extra_block(call_id: str, extra: dict[str, Any]) -> Block:
    """Another provider's fields of a call (Gemini's signature, without which it takes no result).

    A tool_use block has no place for them; clients send redacted thinking back as it is.
    """
    data = dumps_text({"id": call_id, "extra_content": extra})
    return {"type": "redacted_thinking", "data": f"{CALL_EXTRA}:{data}"}


def extra_of(data: str) -> tuple[str, dict[str, Any]]:
    """What `extra_block` was made of, without the format's name.  Raises JSONError, LookupError."""
    value = loads_text(data)
    return value["id"], value["extra_content"]


def thinking_block(text: str, signature: str = "") -> Block:
    return {"type": "thinking", "thinking": text, "signature": signature}


def refusal_of(message: dict[str, Any], choice: dict[str, Any]) -> str:
    """The words of a refusal, unless they stand in `stop_details` already."""
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) and not choice.get("stop_details") else ""


def message_id(given: Any, identity: AnswerIdentity) -> str:
    """The upstream's own id if it is one of the API's, else one made of the answer's identity."""
    if isinstance(given, str) and given.startswith("msg_"):
        return given
    return "msg_" + identity.id.removeprefix("chatcmpl-").removeprefix("msg_")
