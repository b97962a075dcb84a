"""Which conversation a request is part of: what all its requests have in common, in any client's API.

Providers keep the beginning of a prompt in a cache, so a conversation is cheaper where it was before.
Clients name their session in a header or a field.  Without such a name, what a conversation begins with
tells it apart: its system prompt and the first message of its user, which each request repeats.

Only texts count, because clients write the same text as a string in one request and as a list of parts
in the next, and move marks such as `cache_control` from message to message.  The work is bounded: of a
long text its beginning, its end and its length are read.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SESSIONS = (
    b"x-claude-code-session-id",
    b"session_id",  # Codex
    b"session-id",
    b"x-session-affinity",
)
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
_TURNS = ("messages", "input", "contents", "prompt")
_SYSTEM_ROLES = ("system", "developer")
_MARKS = frozenset({"type", "role", "cache_control", "detail", "id"})  # of a part: not what it says
_CHANGING = "x-anthropic-billing-header"  # the line of Claude Code that differs in each request
_LONGEST_NAME = 1024  # characters
_HALF = 512  # characters of a longer text's beginning and of its end
_MOST_PARTS = 32  # of messages, lists in lists and fields included
_MOST_TURNS = 64  # in which the user's first message is looked for
_MOST_NUMBERS = 256  # of a prompt in tokens
_MOST_FIELDS = 16  # of a part
_DEPTH = 4  # of what is nested in a message


def conversation_of(headers: Iterable[tuple[bytes, bytes]], body: Mapping[str, Any]) -> str | None:
    """What identifies the request's conversation; None if nothing does.

    `headers` are the client's, with lower-case names; `body` is what it asks, in any API, checked or
    not.  The first of these counts: a conversation that the provider stores, a session in a header,
    `prompt_cache_key`, the beginning.
    """
    stored = body.get("conversation")
    if isinstance(stored, dict):
        stored = stored.get("id")
    if name := _name(stored):
        return f"conversation:{name}"
    sessions = {name: value for name, value in headers if name in _SESSIONS and value.strip()}
    for header in _SESSIONS:
        if header in sessions:
            return f"session:{sessions[header][:_LONGEST_NAME].decode('latin-1')}"
    if name := _name(body.get("prompt_cache_key")):
        return f"key:{name}"
    return _beginning(body)


def continued_by(body: Mapping[str, Any]) -> str | None:
    """The id of the response, stored by its provider, that the request goes on from."""
    return _name(body.get("previous_response_id"))


def _name(value: Any) -> str | None:
    return value[:_LONGEST_NAME] if isinstance(value, str) and value.strip() else None


def _beginning(body: Mapping[str, Any]) -> str | None:
    system, user = _Texts(), _Texts()
    for name in _SYSTEM:
        system.add(body.get(name))
    turns = next((body[name] for name in _TURNS if body.get(name)), None)
    if isinstance(turns, list):
        _add_turns(turns, system, user)
    else:
        user.add(turns)
        user.add(body.get("images"))
    if not system.size and not user.size:
        return None
    return f"beginning:{system.digest()}{user.digest()}"


def _add_turns(turns: list[Any], system: _Texts, user: _Texts) -> None:
    """Adds the turns up to the user's first."""
    if not isinstance(turns[0], dict):
        user.add(turns)  # prompts as texts or tokens
        return
    for turn in turns[:_MOST_TURNS]:
        if not isinstance(turn, dict):
            continue
        said = turn.get("content", turn.get("parts"))
        role = turn.get("role", "user" if "parts" in turn else None)
        if role in _SYSTEM_ROLES:
            system.add(said)
        elif role == "user":
            user.add(said)
            user.add(turn.get("images"))
            return


class _Texts:
    """A digest of texts; `size` is how many characters it has seen."""

    def __init__(self) -> None:
        self.size = 0
        self._left = _MOST_PARTS
        self._hash = sha256(usedforsecurity=False)

    def add(self, said: Any, depth: int = _DEPTH) -> None:
        """Adds a text, or what the parts of a message say."""
        self._left -= 1
        if self._left < 0:
            return
        match said:
            case str():
                self._add(said)
            case [int(), *_]:
                self._add(repr([one for one in said[:_MOST_NUMBERS] if isinstance(one, int)]))
            case list() if depth:
                for part in islice(said, self._left):
                    self.add(part, depth - 1)
            case {"text": str(text)}:
                self._add(text)
            case dict() if depth:  # a picture, a file, what Gemini calls a content
                for name, value in islice(said.items(), _MOST_FIELDS):
                    if name not in _MARKS:
                        self.add(value, depth - 1)

    def _add(self, text: str) -> None:
        if text.startswith(_CHANGING):
            return
        self.size += len(text)
        if len(text) > 2 * _HALF:
            text = f"{text[:_HALF]}{len(text)}{text[-_HALF:]}"
        self._hash.update(text.encode(errors="surrogatepass"))

    def digest(self) -> str:
        return self._hash.hexdigest()[:16]
