"""Calls of functions that stand for free-form tools, named back in a chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from trio_router.dialects.answer import Item
from trio_router.dialects.freeform import FreeForm
from trio_router.dialects.hub import CallSorter, as_dict, dicts
from trio_router.wire.jsoncodec import dumps, loads

if TYPE_CHECKING:
    from trio_router.dialects.answer import AnswerReader

Chunk = dict[str, Any]


class _Answer(Protocol):
    """One answer without streaming."""

    reader: AnswerReader

    def translate(self, body: bytes) -> bytes: ...


class _Choice:
    """The calls of one choice so far: those of free-form tools by their numbers."""

    def __init__(self) -> None:
        self.sorter = CallSorter()
        self.open: dict[int, tuple[Any, FreeForm]] = {}


class FreeFormCalls:
    """See `Tap`.  `names` are those of the free-form tools."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._choices: dict[Any, _Choice] = {}

    def take(self, items: list[Item], reader: AnswerReader, *, at_end: bool) -> list[Item]:
        return [self._item(item) for item in items]

    def _item(self, item: Item) -> Item:
        chunk = self.chunk(item.chunk)
        return item if chunk is item.chunk else Item(chunk, None)

    def chunk(self, chunk: Chunk) -> Chunk:
        """The same chunk, if it says nothing of such a call."""
        choices = [self._choice(choice) for choice in dicts(chunk.get("choices"))]
        if all(made is None for made in choices):
            return chunk
        given = dicts(chunk["choices"])
        told = [old if new is None else new for old, new in zip(given, choices, strict=True)]
        return {**chunk, "choices": told}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        place = choice.get("index", 0)
        delta = as_dict(choice.get("delta"))
        pieces = dicts(delta.get("tool_calls"))
        if not pieces and place not in self._choices:
            return None
        known = self._choices.setdefault(place, _Choice())
        made = [self._piece(known, piece) for piece in pieces]
        if choice.get("finish_reason"):
            rests = [(index, form.end()) for index, form in known.open.values()]
            made += [{"index": i, "type": "custom", "custom": {"input": t}} for i, t in rests if t]
            known.open.clear()
        return {**choice, "delta": {**delta, "tool_calls": made}} if made != pieces else None

    def _piece(self, known: _Choice, piece: dict[str, Any]) -> dict[str, Any]:
        function = as_dict(piece.get("function"))
        name, index = function.get("name"), piece.get("index")
        number = known.sorter.number(index, piece.get("id"), has_name=bool(name))
        if number not in known.open:
            if name not in self._names:
                return piece
            known.open[number] = (number if index is None else index), FreeForm()
        arguments = function.get("arguments")
        text = known.open[number][1].take(arguments if isinstance(arguments, str) else "")
        custom = {**({"name": name} if name else {}), "input": text}
        rest = {k: v for k, v in piece.items() if k != "function"}
        return {**rest, "type": "custom", "custom": custom}


class FreeFormAnswer:
    """One answer without streaming; see WholeAnswer."""

    def __init__(self, answer: _Answer, names: frozenset[str]) -> None:
        self.reader = answer.reader
        self._answer = answer
        self._names = names

    def translate(self, body: bytes) -> bytes:
        return dumps(whole(loads(self._answer.translate(body)), self._names))


def whole(completion: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """A whole completion, with its calls of free-form tools named back."""
    choices = []
    for choice in dicts(completion.get("choices")):
        message = as_dict(choice.get("message"))
        calls = [_call(call, names) for call in dicts(message.get("tool_calls"))]
        if calls:
            choice = {**choice, "message": {**message, "tool_calls": calls}}
        choices.append(choice)
    return {**completion, "choices": choices}


def _call(call: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    function = as_dict(call.get("function"))
    if function.get("name") not in names:
        return call
    form = FreeForm()
    text = form.take(str(function.get("arguments") or "")) + form.end()
    rest = {k: v for k, v in call.items() if k != "function"}
    return {**rest, "type": "custom", "custom": {"name": function["name"], "input": text}}
