"""What providers were asked, and what they told: one entry for each of their answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from msgspec import json, structs

if TYPE_CHECKING:
    from trio_router.simulation.envelope import AnswerBytes
    from trio_router.simulation.pipes import End
    from trio_router.simulation.plan import Fault, Meaning, Take


@dataclass(slots=True)
class Asked:
    """A request as a provider got it."""

    method: bytes
    path: str
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def key(self) -> str:
        headers = self.headers
        given = headers.get(b"authorization") or headers.get(b"x-api-key") or b""
        given = given or headers.get(b"api-key") or headers.get(b"x-goog-api-key") or b""
        return given.decode("latin-1").removeprefix("Bearer ")


@dataclass(slots=True)
class Told:
    """One answer of a provider: what was asked, what was to be said, and how far it came."""

    provider: str
    ask: int  # -1: it is not known whose request it was
    attempt: int  # at this provider, from 0
    at: float
    asked: Asked
    take: Take
    speech: str = ""
    is_stream: bool = False
    choices: int = 1
    fault: Fault | None = None
    begun: str = ""  # the beginning of an answer that it was to go on from
    script: AnswerBytes | None = None
    status: int = 0
    sent: int = 0  # events that are out, as far as the provider's own side
    has_said_finish: bool = False
    is_overtaken: bool = False  # the next request came on its connection before it was all sent
    is_whole: bool = False  # all of it was written, with its framing's end
    said_at: float = inf  # its last event is out
    left_at: float = inf  # the router's end of the connection was seen
    ended_at: float = inf
    end: End | None = None
    words: list[str] = field(default_factory=list)  # messages of errors that it gave

    @property
    def machine(self) -> str:
        """The router that asked."""
        return "" if self.end is None else self.end.name.partition(">")[0]


def said_so_far(told: Told) -> str | None:
    """The text of its events that are out, in the two dialects in which that is plain; else None."""
    if told.script is None or told.speech not in ("openai", "anthropic") or told.choices > 1:
        return None
    if told.take.style.as_json or not told.is_stream:
        return None
    text = ""
    for event in told.script.events[: told.sent]:
        if not event.startswith(b"{"):
            continue
        value = json.decode(event)
        for part in value.get("choices") or (value,):
            delta = part.get("delta") or {}
            text += delta.get("text") or delta.get("content") or ""
    return told.begun + text


def meant(told: Told, so_far: str, thoughts: str = "") -> Meaning:
    """What the client of this answer is to have in the end, who has `so_far` of its text.

    `thoughts` are those of the answer that it goes on with.
    """
    answer, begun = told.take.answer, told.begun
    if not begun:
        return answer
    is_on = answer.text.startswith(begun)  # then it says the rest alone
    says = answer.text[len(begun) :] if is_on else answer.text
    # The router gives a beginning without white space at its end.
    rest = so_far[len(begun) :]
    blank = rest[: len(rest) - len(rest.lstrip())]
    if not says.startswith(rest) and says.startswith(rest.lstrip()):
        begun += blank
    thought = thoughts if is_on else thoughts + answer.thoughts
    return structs.replace(answer, text=begun + says, thoughts=thought)
