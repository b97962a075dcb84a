"""A stream of chunks -> the whole answer it is a stream of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk, Completion

# Strings that come whole in every chunk; all other strings of a delta are pieces to be joined.
_WHOLE = frozenset({"role", "id", "type", "name", "format", "signature", "thought_signature"})


class Fold:
    """Takes chunks and gives the `chat.completion`; fields nobody here has heard of are kept."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._identity = identity
        self._frame: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Any = None

    def add(self, chunk: Chunk) -> None:
        for name, value in chunk.items():
            if name not in ("choices", "usage") and value is not None:
                self._frame[name] = value
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._add_choice(choice)

    def completion(self) -> Completion:
        frame = {
            "id": self._identity.id,
            "created": self._identity.created,
            "model": self._identity.model,
            **self._frame,
            "object": "chat.completion",
        }
        choices = [_choice(self._choices[i]) for i in sorted(self._choices)]
        whole: Completion = {**frame, "choices": choices}
        if self._usage is not None:
            whole["usage"] = self._usage
        return whole

    def _add_choice(self, piece: dict[str, Any]) -> None:
        index = piece.get("index")
        index = index if isinstance(index, int) else 0
        choice = self._choices.setdefault(index, {"index": index, "message": {}})
        message = piece.get("delta") or piece.get("message")
        if isinstance(message, dict):
            _merge_message(choice["message"], message)
        for name, value in piece.items():
            if name == "logprobs" and isinstance(value, dict):
                choice["logprobs"] = _joined_lists(choice.get("logprobs") or {}, value)
            elif name not in ("index", "delta", "message") and value is not None:
                choice[name] = value


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, **choice["message"]}
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
    return {**choice, "message": message, "finish_reason": choice.get("finish_reason")}


def _merge_message(into: dict[str, Any], piece: dict[str, Any]) -> None:
    """Content may change its kind on its way: Mistral thinks in parts and answers in text."""
    held, value = into.get("content"), piece.get("content")
    if not isinstance(held, list) and not isinstance(value, list):
        _merge(into, piece)
        return
    parts: list[Any] = []
    _append_parts(parts, held)
    _append_parts(parts, value)
    _merge(into, {name: value for name, value in piece.items() if name != "content"})
    into["content"] = parts


def _append_parts(parts: list[Any], content: Any) -> None:
    """Texts that follow one another, within thoughts too, are pieces of one."""
    if isinstance(content, str) and content:
        content = [{"type": "text", "text": content}]
    for part in content or ():
        if not (parts and _goes_on(parts[-1], part)):
            parts.append(_copied(part, ""))


def _goes_on(last: Any, part: Any) -> bool:
    """Whether `part` was a piece of `last`; it is joined to it then."""
    if not (isinstance(last, dict) and isinstance(part, dict) and last.keys() == part.keys()):
        return False
    kind = part.get("type")
    if kind not in ("text", "thinking") or last.get("type") != kind:
        return False
    held, piece = last[kind], part[kind]
    if isinstance(held, str) and isinstance(piece, str) and len(part) == 2:
        last[kind] = held + piece
    elif isinstance(held, list) and isinstance(piece, list):
        _append_parts(held, piece)
    else:
        return False
    return True


def _merge(into: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        held = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif held is None:
            into[name] = _copied(value, name)
        elif isinstance(value, str) and isinstance(held, str):
            into[name] = (value or held) if name in _WHOLE else held + value
        elif isinstance(value, dict) and isinstance(held, dict):
            _merge(held, value)
        elif isinstance(value, list) and isinstance(held, list):
            _extend(held, value)
        else:
            into[name] = value


def _copied(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        own: dict[str, Any] = {}
        _merge(own, value)
        return own
    if isinstance(value, list):
        items: list[Any] = []
        _extend(items, value)
        return items
    return value


def _extend(held: list[Any], pieces: list[Any]) -> None:
    """Lists grow; an item with an `index` that is there already goes on where it left off."""
    for piece in pieces:
        if not isinstance(piece, dict):
            held.append(piece)
            continue
        index = piece.get("index")
        same = next(
            (h for h in held if index is not None and isinstance(h, dict) and h.get("index") == index),
            None,
        )
        if same is None:
            held.append(_copied(piece, ""))
        else:
            _merge(same, piece)


def _joined_lists(held: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    joined = dict(held)
    for name, value in piece.items():
        old = joined.get(name)
        if isinstance(old, list) and isinstance(value, list):
            joined[name] = old + value
        elif value is not None or name not in joined:
            joined[name] = value
    return joined
