"""What a dialect is, and the values that cross its border.

The hub all dialects meet in is OpenAI's own chat JSON, as plain dictionaries: requests in the shape of
`POST /chat/completions`, answers as `chat.completion` and `chat.completion.chunk`.  A dictionary keeps
fields nobody here has heard of, which a closed vocabulary would lose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

Chunk = dict[str, Any]  # a chat.completion.chunk
Completion = dict[str, Any]  # a chat.completion


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is to be sent: `path` is appended to the provider's base URL."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerIdentity:
    """What an answer is called where the upstream gives it no name.  `created` is in Unix seconds."""

    id: str
    created: int
    model: str


class ChunkDecoder(Protocol):
    """One answer's records, in a dialect of their own, turned into chunks.  One per answer."""

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        """The chunks that a record of the stream stands for; a whole answer is a record too."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether the last record said that the answer is whole."""
        ...


class Dialect(Protocol):
    """How one family of providers wants to be asked, and how it answers."""

    name: str

    def build_request(self, body: dict[str, Any], *, ask_usage: bool) -> UpstreamRequest:
        """`body` is a chat request in OpenAI's shape, with the upstream's model name.

        It is not changed.  Raises InvalidRequest, which names the field, for what cannot be said in
        this dialect.
        """
        ...

    def recognises(self, record: dict[str, Any]) -> bool:
        """Whether a record of an answer is in this dialect, by its shape."""
        ...

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder: ...

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        """A whole answer in OpenAI's shape; None if it is in that shape already, byte for byte."""
        ...

    def auth_headers(self, api_key: str) -> dict[str, str]: ...
