"""A whole message -> a completion, and a completion -> a whole message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.hub import (
    call_extra,
    extra_block,
    message_id,
    reasoning,
    refusal_of,
    thinking_block,
    tool_input,
)
from trio_router.dialects.anthropic.order import OUTLINE, arrange
from trio_router.dialects.anthropic.stream import MessagesDecoder
from trio_router.dialects.anthropic.words import Block, stop_reason, usage_from_hub
from trio_router.dialects.fold import Fold
from trio_router.dialects.hub import as_dict, dicts, legacy_call, text_of

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Completion


def to_completion(message: dict[str, Any], identity: AnswerIdentity) -> Completion:
    """The same as its stream, folded: there is one reading of blocks, not two.

    Raises ValueError if it is no whole message.
    """
    if message.get("type") != "message":
        raise ValueError("an event of a stream is no whole answer")
    fold = Fold(identity)
    for chunk in MessagesDecoder(identity).decode(message):
        fold.add(chunk)
    return fold.completion()


def to_message(completion: Completion, identity: AnswerIdentity) -> dict[str, Any]:
    """The first choice as a message of the API."""
    choices = dicts(completion.get("choices"))
    choice: dict[str, Any] = next((c for c in choices if c.get("index", 0) in (0, None)), {})
    message = as_dict(choice.get("message"))
    calls = _calls(message, identity)
    told: dict[str, Any] = {
        "id": message_id(completion.get("id"), identity),
        "type": "message",
        "role": "assistant",
        "model": completion.get("model") or identity.model,
        "content": _blocks(choice, message, calls),
        "stop_reason": stop_reason(choice, has_calls=bool(calls)),
        "stop_sequence": choice.get("stop_sequence"),
    }
    for name in ("stop_details", "container", "context_management"):
        if choice.get(name) is not None:
            told[name] = choice[name]
    told["usage"] = usage_from_hub(completion.get("usage"))
    return told


def _blocks(choice: dict[str, Any], message: dict[str, Any], calls: list[Block]) -> list[Block]:
    thoughts = _thoughts(message)
    text, own = text_of(message.get("content"))
    if own and not thoughts:
        thoughts = [thinking_block(own)]
    outlined = arrange(message.get(OUTLINE), text, message.get("citations"), thoughts, calls)
    if outlined is not None:
        return outlined
    text += refusal_of(message, choice)
    texts = [{"type": "text", "text": text}] if text else []
    # Without an outline that fits, what the server's own tools did still is part of the answer.
    told = ("thinking", "redacted_thinking", "text", "tool_use", "part")
    served = [
        {k: v for k, v in outline.items() if k != "index"}
        for outline in dicts(message.get(OUTLINE))
        if outline.get("type") not in told
    ]
    return [*thoughts, *served, *texts, *calls]


def _thoughts(message: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for piece in reasoning(message):
        if piece.data is not None:
            blocks.append({"type": "redacted_thinking", "data": piece.data})
        else:
            blocks.append(thinking_block(piece.text, piece.signature))
    return blocks


def _calls(message: dict[str, Any], identity: AnswerIdentity) -> list[Block]:
    calls = dicts(message.get("tool_calls"))
    if legacy := legacy_call(message):
        calls.append({"function": legacy})
    tail = message_id(None, identity).removeprefix("msg_")
    blocks: list[Block] = []
    for number, call in enumerate(calls):
        function = as_dict(call.get("function"))
        own, foreign = call_extra(call)
        block: Block = {
            "type": "tool_use",
            "id": call.get("id") or f"toolu_{tail}_{number}",
            "name": function.get("name") or "",
            "input": tool_input(function.get("arguments")),
        }
        if foreign:
            blocks.append(extra_block(block["id"], foreign))
        blocks.append({**block, **own})
    return blocks
