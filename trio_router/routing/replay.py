"""Continuing an answer that broke off: another target's answer is compared with what was sent.

The other target answers the same request from the start.  While it repeats what was sent, nothing goes
out; what it says beyond that is sent.  If the two differ, the answer cannot be continued.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_router.dialects.base import Chunk

_HEAD = ("id", "created")  # fields by which a client knows one answer
_THOUGHTS = ("reasoning_content", "reasoning")
_LEGACY = -1  # the index given to a `function_call`, which tool calls do not use


class Differs(Exception):
    """The other answer differs from what was sent.  The message says where, without the text."""


@dataclass(slots=True)
class SentCall:
    """A tool call, as far as it was sent."""

    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class SentChoice:
    """One choice, as far as it was sent: its strings by the delta's field."""

    texts: dict[str, str] = field(default_factory=dict)
    calls: dict[int, SentCall] = field(default_factory=dict)
    is_finished: bool = False
    is_comparable: bool = True  # all of it was text and calls

    def copy(self) -> SentChoice:
        calls = {number: SentCall(call.name, call.arguments) for number, call in self.calls.items()}
        return SentChoice(dict(self.texts), calls, self.is_finished, self.is_comparable)

    @property
    def thoughts(self) -> str:
        return next((self.texts[name] for name in _THOUGHTS if name in self.texts), "")

    @property
    def is_empty(self) -> bool:
        calls = self.calls.values()
        return not any(self.texts.values()) and not any(call.name or call.arguments for call in calls)


class Sent:
    """The part of an answer that the client has."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.choices: dict[int, SentChoice] = {}

    def add(self, chunk: Chunk) -> None:
        for name in _HEAD:
            if name not in self.head and chunk.get(name):
                self.head[name] = chunk[name]
        for number, choice in _choices(chunk):
            sent = self.choices.setdefault(number, SentChoice())
            for name, value in _delta(choice).items():
                self._add_field(sent, name, value)
            if choice.get("finish_reason"):
                sent.is_finished = True

    def text_to_continue(self) -> str | None:
        """The text that a target may continue; None if the answer is more than text."""
        if not self.choices:
            return ""
        if set(self.choices) != {0}:
            return None
        sent = self.choices[0]
        if sent.calls or sent.is_finished or not sent.is_comparable:
            return None
        text = sent.texts.get("content", "")
        has_more = any(value for name, value in sent.texts.items() if name != "content")
        return text if text or not has_more else None

    def _add_field(self, sent: SentChoice, name: str, value: Any) -> None:
        if name == "role" or value is None:
            return
        if isinstance(value, str):
            sent.texts[name] = sent.texts.get(name, "") + value
        elif name in ("tool_calls", "function_call"):
            for number, piece in _calls(name, value):
                call = sent.calls.setdefault(number, SentCall())
                function = _function(piece)
                call.name = call.name or _string(function.get("name"))
                call.arguments += _string(function.get("arguments"))
        elif name in ("content", "audio"):
            sent.is_comparable = False


class Replay:
    """Reads another target's chunks against what was `sent`."""

    def __init__(self, sent: Sent) -> None:
        self._head = dict(sent.head)
        self._left = {number: choice.copy() for number, choice in sent.choices.items()}
        self._begun_calls = {n: set(choice.calls) for n, choice in sent.choices.items()}
        # `reasoning_details` say once more what the thoughts say: their text is compared by itself.
        self._detailed = {number: choice.thoughts for number, choice in sent.choices.items()}
        self._untold = ""  # white space that was sent, and that the target does not know of

    @classmethod
    def continuing(cls, sent: Sent, *, is_trimmed: bool = False) -> Replay:
        """A replay for a target that continues where `sent` ends, without repeating it.

        With `is_trimmed` it was not told of the white space at the end: it says that again, if at all.
        """
        replay = cls(sent)
        replay._left = {number: SentChoice() for number in sent.choices}
        replay._detailed = {}
        if is_trimmed:
            text = sent.text_to_continue() or ""
            replay._untold = text[len(text.rstrip()) :]
        return replay

    def take(self, chunk: Chunk) -> Chunk | None:
        """The part of `chunk` that is new to the client; None if nothing is.  Raises Differs."""
        choices = [new for number, one in _choices(chunk) if (new := self._choice(number, one))]
        if not choices and not chunk.get("usage"):
            return None
        return {**chunk, **self._head, "choices": choices}

    def end(self) -> None:
        """The other answer has ended.  Raises Differs if it is shorter than what was sent."""
        if any(not left.is_empty for left in self._left.values()):
            raise Differs("it ends before what was sent does")

    def _choice(self, number: int, choice: dict[str, Any]) -> dict[str, Any] | None:
        left = self._left.get(number)
        if left is None:
            return choice
        if not left.is_comparable:
            raise Differs("what was sent cannot be compared")
        delta: dict[str, Any] = {}
        for name, value in _delta(choice).items():
            new = self._field(left, number, name, value)
            if new:
                delta[name] = new
        finish = None if left.is_finished else choice.get("finish_reason")
        if (delta or finish) and not left.is_empty:
            raise Differs("it goes on before all that was sent has come")
        if not delta and not finish:
            return None
        kept = {k: v for k, v in choice.items() if k != "logprobs"}
        return {**kept, "delta": delta, "finish_reason": finish}

    def _field(self, left: SentChoice, number: int, name: str, value: Any) -> Any:
        if name == "role" or value is None:
            return None
        if isinstance(value, str):
            if name == "content" and self._untold:
                value = self._without_untold(value)
            rest, left.texts[name] = _beyond(value, left.texts.get(name, ""), name)
            return rest
        if name == "reasoning_details":
            return self._details(left, number, value)
        if name not in ("tool_calls", "function_call"):
            return value if left.is_empty else None
        begun = self._begun_calls[number]
        pieces = []
        for call, piece in _calls(name, value):
            new = self._call(left.calls[call], piece) if call in begun else piece
            if new:
                pieces.append(new)
        if name == "function_call":
            return pieces[0] if pieces else None
        return pieces

    def _details(self, left: SentChoice, number: int, value: Any) -> list[dict[str, Any]]:
        details = []
        for detail in value if isinstance(value, list) else ():
            name = next((n for n in ("text", "summary") if _string(_object(detail).get(n))), None)
            if name is not None:
                was_left = self._detailed.get(number, "")
                rest, self._detailed[number] = _beyond(detail[name], was_left, "thoughts")
                if rest:
                    details.append({**detail, name: rest})
            elif left.is_empty:
                details.append(detail)
        return details

    def _without_untold(self, value: str) -> str:
        common = 0
        while value[common : common + 1] == self._untold[common : common + 1] != "":
            common += 1
        is_open = common == len(value)  # the next piece may repeat more of it
        self._untold = self._untold[common:] if is_open else ""
        return value[common:]

    def _call(self, left: SentCall, piece: dict[str, Any]) -> dict[str, Any] | None:
        function = _function(piece)
        name = _string(function.get("name"))
        if name and left.name and name != left.name:
            raise Differs("it calls another tool")
        if name:
            left.name = ""  # the call has come, whatever of its arguments is still to come
        rest, left.arguments = _beyond(_string(function.get("arguments")), left.arguments, "arguments")
        if not rest:
            return None
        if "function" not in piece:
            return {"arguments": rest}
        return {"index": piece.get("index", 0), "function": {"arguments": rest}}


def _beyond(value: str, left: str, name: str) -> tuple[str, str]:
    """The part of `value` beyond `left`, which is still to be repeated; and what remains of `left`."""
    common = min(len(value), len(left))
    if value[:common] != left[:common]:
        raise Differs(f"its {name} differs from what was sent")
    return value[common:], left[common:]


def _choices(chunk: Chunk) -> list[tuple[int, dict[str, Any]]]:
    choices = chunk.get("choices")
    found = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    return [(number if isinstance(number := one.get("index"), int) else 0, one) for one in found]


def _delta(choice: dict[str, Any]) -> dict[str, Any]:
    delta = choice.get("delta") or choice.get("message")
    return delta if isinstance(delta, dict) else {}


def _calls(name: str, value: Any) -> list[tuple[int, dict[str, Any]]]:
    if name == "function_call":
        return [(_LEGACY, value)] if isinstance(value, dict) else []
    pieces = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    return [(i if isinstance(i := one.get("index"), int) else n, one) for n, one in enumerate(pieces)]


def _function(piece: dict[str, Any]) -> dict[str, Any]:
    return _object(piece.get("function", piece))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
