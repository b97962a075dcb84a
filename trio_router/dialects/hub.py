"""What the hub's messages and deltas hold, read leniently: providers fill them in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trio_router.wire.json_end import JSONEnd
from trio_router.wire.jsoncodec import JSONError, dumps_text, loads_text

# Strings under these names describe the form of an answer, not its content.
_FRAME = frozenset({"role", "id", "call_id", "type", "index", "object", "format", "status"})
_PIECES = 64  # of a call's arguments, that may wait to be looked at
_DEPTH = 16  # of a value; what is nested deeper says something


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in an array; none if it is something else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def legacy_call(message: dict[str, Any]) -> dict[str, Any]:
    """A `function_call`, if there is one; Snowflake puts an empty one in every message."""
    call = as_dict(message.get("function_call"))
    return call if call.get("name") or call.get("arguments") else {}


def tokens(value: Any) -> int:
    """A number of tokens that a list of models tells; 0 if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def text_of(content: Any) -> tuple[str, str]:
    """Text and reasoning in a content that may be an array of parts (Mistral's reasoning models).

    Cloudflare's JSON mode gives the object itself; any such value is its JSON.
    """
    if isinstance(content, str):
        return content, ""
    if content is not None and not isinstance(content, list):
        return dumps_text(content), ""
    text = thinking = ""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thinking += text_of(part.get("thinking"))[0]
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            text += part["text"]
    return text, thinking


@dataclass(slots=True)
class _Known:
    number: int
    id: str
    is_named: bool = False


class CallSorter:
    """Finds the call to which a piece belongs.

    Some providers give calls no index, some the same one to every call, some no id.
    """

    def __init__(self) -> None:
        self._by_index: dict[int | str, _Known] = {}
        self._by_id: dict[str, _Known] = {}
        self._last: _Known | None = None
        self.count = 0

    def number(self, index: Any, given: Any, *, has_name: bool) -> int:
        """The call's number, from 0 in the order of their beginnings; `given` is the piece's id."""
        place = index if isinstance(index, int | str) else None
        name = given if isinstance(given, str) else ""
        known = self._find(place, name, has_name)
        if known is None:
            known = _Known(self.count, name)
            self.count += 1
        known.is_named = known.is_named or has_name
        if name:
            self._by_id[name] = known
        if place is not None:
            self._by_index[place] = known
        self._last = known
        return known.number

    def _find(self, place: int | str | None, given: str, has_name: bool) -> _Known | None:
        known = self._by_id.get(given) if given else None
        if known is not None:
            return known
        if place is not None:
            known = self._by_index.get(place)
            if known is not None and given and has_name and known.is_named and given != known.id:
                return None
            return known
        return self._last if not given and not has_name else None


class OpenCalls:
    """The tool calls of one choice that has no finish reason yet."""

    def __init__(self) -> None:
        self._sorter = CallSorter()
        self._ends: list[JSONEnd | None] = []  # None: what is no JSON, or came as a value
        self._last: JSONEnd | None = None  # of the call whose pieces come
        self._index: Any = None  # its
        self._texts: list[str] = []  # of it, not looked at yet: scanning many at once is cheaper

    @property
    def are_whole(self) -> bool:
        self._look()
        return all(end is None or end.is_whole for end in self._ends)

    def add(self, message: dict[str, Any]) -> bool:
        """Notes the calls, or pieces of calls, of a delta or a message.

        Returns True if it certainly has content; False leaves that open.
        """
        pieces = message.get("tool_calls")
        if self._last is not None and type(pieces) is list and len(pieces) == 1 and len(message) == 1:
            # Nearly always it is the next piece of the same call.
            piece = pieces[0]
            if type(piece) is dict and piece.get("index") == self._index and not piece.get("id"):
                function = piece.get("function")
                if type(function) is dict and not function.get("name"):
                    text = function.get("arguments")
                    if type(text) is str:
                        self._texts.append(text)
                        if len(self._texts) >= _PIECES:
                            self._look()
                        return bool(text)
        for piece in dicts(pieces):
            self._piece(piece)
        if legacy := legacy_call(message):
            self._piece({"index": "function_call", "function": legacy})
        return False

    def _look(self) -> None:
        if self._last is not None and self._texts:
            self._last.add("".join(self._texts))
        self._texts.clear()

    def _piece(self, piece: dict[str, Any]) -> None:
        self._look()
        function = as_dict(piece.get("function"))
        name, arguments = bool(function.get("name")), function.get("arguments")
        number = self._sorter.number(piece.get("index"), piece.get("id"), has_name=name)
        if number == len(self._ends):
            self._ends.append(JSONEnd())
        if arguments is not None and not isinstance(arguments, str):
            self._ends[number] = None
        elif not function and any(as_dict(piece.get("custom")).values()):
            self._ends[number] = None  # the input of a custom tool is text
        self._index, self._last = piece.get("index"), self._ends[number]
        if self._last is not None and arguments:
            self._last.add(arguments)


def says(choice: dict[str, Any]) -> bool:
    """Whether a choice of a chunk, or of a whole answer, says something.

    An opening does not: a role alone, an empty text, a call without a name.  Text, reasoning, a
    refusal, a tool call, sound, a picture and a finish reason do.
    """
    if choice.get("finish_reason") or choice.get("text"):
        return True
    delta = choice.get("delta")
    return (delta is not None and has_words(delta)) or has_words(choice.get("message"))


def has_words(value: Any, depth: int = _DEPTH) -> bool:
    """Whether there is a string in `value` that is no part of the frame, and not empty."""
    if isinstance(value, str):
        return bool(value)
    if depth == 0:
        return True
    if isinstance(value, dict):
        for name, held in value.items():
            if held and name not in _FRAME and has_words(held, depth - 1):
                return True
    elif isinstance(value, list):
        for held in value:
            if held and has_words(held, depth - 1):
                return True
    return False


def implied_finish(choice: dict[str, Any]) -> str | None:
    """The finish reason of a choice of a whole JSON body that gives none; None if it was cut off.

    The body has come to its own end, so what it says is whole.
    """
    if not says(choice):
        return None
    calls = OpenCalls()
    calls.add(as_dict(choice.get("message")))
    return "stop" if calls.are_whole else None


def tool_input(arguments: Any) -> dict[str, Any]:
    """A call's arguments as an object, for APIs that ask for one.

    What is no JSON object is wrapped as Anthropic's "Fine-grained tool streaming" advises, so the
    model sees it.
    """
    if isinstance(arguments, dict):
        return arguments
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    text = arguments if isinstance(arguments, str) else dumps_text(arguments)
    try:
        value = loads_text(text)
    except JSONError:
        value = text
    if value is None:  # "null": what some models call a tool without parameters with
        return {}
    return value if isinstance(value, dict) else {"INVALID_JSON": text}
