"""What a dialect is, and the values that cross its border.

The hub all dialects meet in is OpenAI's own chat JSON, as plain dictionaries: requests in the shape of
`POST /chat/completions`, answers as `chat.completion` and `chat.completion.chunk`.  A dictionary keeps
fields nobody here has heard of, which a closed vocabulary would lose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from trio_router.errors import RouterError
    from trio_router.wire.sse import ServerSentEvent

Chunk = dict[str, Any]  # a chat.completion.chunk
Completion = dict[str, Any]  # a chat.completion


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request for an upstream: `path` is appended to the provider's base URL, which loses `above`
    first if it ends in that.
    """

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    above: str = ""


class AnswerIdentity(NamedTuple):
    """Id, time (Unix seconds) and model of an answer, used where the upstream gives none."""

    id: str
    created: int
    model: str
    elapsed: Callable[[], float] | None = None  # seconds since the request came; None: nobody measures

    def frame(self) -> dict[str, Any]:
        """A new chunk of the answer, without its choices."""
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }


class Unsupported:
    """Handles fields that `who` does not support: refuses them, or drops them if `drop` is true."""

    def __init__(self, who: str, *, drop: bool) -> None:
        self._who = who
        self._drop = drop
        self.dropped: list[str] = []  # what was dropped, in the API's words

    def field(self, name: str, why: str = "", what: str = "") -> None:
        """`name` is the field's place in the request.  Raises InvalidRequest unless it is dropped.

        `what` is what the client knows it by, if that is not its place.
        """
        if not self._drop:
            raise InvalidRequest(f"{self._who}: {why or f'{name} is not supported'}", param=name)
        self.dropped.append(what or name)


class ChunkDecoder(Protocol):
    """One answer's records, in a dialect of their own, turned into chunks.  One per answer."""

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        """The chunks that a record of the stream stands for; a whole answer is a record too."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether the last record said that the answer is whole."""
        ...


class HoldingDecoder(ChunkDecoder, Protocol):
    """A decoder of a dialect without a last record: some chunks wait for the end of the body."""

    def end(self, *, is_whole: bool) -> list[Chunk]:
        """The chunks that waited.  `is_whole`: the body was one JSON value, so it is complete."""
        ...


class StoredDecoder(ChunkDecoder, Protocol):
    """A decoder of an API whose providers store their answers.

    `response_id` is what a later request calls this one; None before its end.
    """

    response_id: str | None


class Dialect(Protocol):
    """All that is known of one family of providers: how it wants to be asked, and how it answers.

    A dialect is a class under this one and a line in `dialects/__init__.py`.  What it leaves as it
    stands here, its providers do not have.
    """

    name: str
    trims_beginning: bool = False  # it refuses white space at the end of a text to be continued
    headers: Mapping[str, str] = {}  # of each request; the client's and the configuration's win

    @property
    def embeddings(self) -> EmbeddingDialect | None:
        return None

    @property
    def listing(self) -> ModelListing | None:
        return None

    @property
    def passing(self) -> PassingDialect | None:
        return None

    @property
    def counter(self) -> TokenCounter | None:
        return None

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        """The clients' APIs that such providers may have themselves, by the names of their dialects.

        The values are the paths under the base URL.  `model` is the upstream's name of it, empty where
        no model is asked for; `query` is what the URL of each request carries.
        """
        return {}

    def base_url_complaint(self, base_url: str) -> str:
        """Why `base_url` cannot be that of such a provider; empty if it can be."""
        return ""

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        """`body` is a chat request in OpenAI's shape, with the upstream's model name.

        It is not changed.  Raises InvalidRequest, which names the field, for what this dialect cannot
        express; with `drop_unsupported` such a field is left out.
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


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What an upstream's embeddings say: a vector for each input, in order.  None: it does not say."""

    vectors: list[list[float]]
    prompt_tokens: int | None
    model: str | None


class EmbeddingDialect(Protocol):
    """How one family of providers embeds texts."""

    is_openai: bool  # its answers reach the client as they are

    def request(self, body: dict[str, Any], *, drop_unsupported: bool) -> UpstreamRequest:
        """`body` is checked (`embedding.py`), with the upstream's model name; it is not changed.

        Raises InvalidRequest, which names the field, for what cannot be said in this dialect.
        """
        ...

    def embeddings(self, record: dict[str, Any]) -> Embeddings:
        """Raises KeyError, TypeError, ValueError or AttributeError for what has another shape."""
        ...


class TokenCounter(Protocol):
    """How one family of providers counts the tokens of a request, without answering it."""

    is_guess: bool  # only some of the providers have this endpoint

    def request(self, body: dict[str, Any], base_url: str) -> UpstreamRequest:
        """`body` is a chat request in OpenAI's shape, with the upstream's model name.

        Raises InvalidRequest, which names the field, for what is wrong.
        """
        ...

    def tokens(self, record: dict[str, Any]) -> int | None:
        """How many the upstream says there are; None if it says nothing of the kind."""
        ...


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as its provider lists it.  `created` is in Unix seconds, 0 if it is not told.

    `context` and `output` are the most tokens of a request with its answer, and of an answer; 0 if that
    is not told.  `abilities` are some of `tools`, `vision`, `thinking`; none is told of where unknown.
    """

    id: str
    created: int = 0
    title: str = ""
    context: int = 0
    output: int = 0
    abilities: tuple[str, ...] = ()


class ModelListing(Protocol):
    """How a provider tells which models it has, page by page."""

    def path(self, mark: str | None) -> str:
        """Of the page that `mark` stands for, None for the first; appended to the base URL."""
        ...

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        """A page's models, and the mark of the next page; what has another shape gives none."""
        ...


class ModelTeller(Protocol):
    """How clients of one API are told of models, whose ids are `provider/model` then."""

    def model(self, model: ListedModel) -> dict[str, Any]: ...

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]: ...


class PassingDialect(Protocol):
    """Providers whose other endpoints are OpenAI's too, so that requests for them pass through."""

    def passing_path(self, path: str, model: str) -> str:
        """Where `path` (`/audio/speech`) is, from the base URL; `model` may be empty."""
        ...


class StreamEncoder(Protocol):
    """One answer's chunks, as a client of another API gets them.  One per answer."""

    def encode(self, chunk: Chunk) -> bytes:
        """The frames that `chunk` stands for, finished bytes; perhaps none."""
        ...

    def passes(self, event: dict[str, Any]) -> bool:
        """An event of the API itself is about to be passed on.  Returns whether the client wants it.

        What `fail` says later must be consistent with the events that were passed on.
        """
        ...

    def finish(self) -> bytes:
        """The last frames of an answer that ended well."""
        ...

    def fail(self, error: RouterError) -> bytes:
        """The frames that end the stream badly; possibly before any chunk."""
        ...


class FramingEncoder(StreamEncoder, Protocol):
    """An encoder of an API whose streams are not always server-sent events."""

    def framed(self, event: ServerSentEvent) -> bytes:
        """An upstream's event that passes, as the client gets it."""
        ...


class NativeApi(Protocol):
    """A client's API as upstreams themselves offer it: what passes through is read for the record."""

    end: bytes  # the frame that ends a good stream, beside the upstream's own events
    needs_end: bool  # the upstream's last event holds the answer: no end can be given in its stead
    forwarded: frozenset[bytes]  # a client's headers, in lower case, that go to the upstream with it
    tells_errors: bool  # an error in a stream passes as it is, with what the upstream says after it

    def request(self, body: dict[str, Any], *, ask_usage: bool) -> dict[str, Any]:
        """What the upstream is asked: the client's body, and usage where that has to be asked for."""
        ...

    def recognises(self, record: dict[str, Any]) -> bool:
        """Whether a record of an answer is of this API, by its shape."""
        ...

    def whole(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """The whole answer, if the event that ended a stream holds it."""
        ...

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder: ...

    def missing_end(self, decoder: ChunkDecoder | None) -> bytes:
        """The frames that end a good stream which the upstream has left open; `decoder` has read it."""
        ...

    def says(self, event: dict[str, Any]) -> bool:
        """Whether an event that its decoder makes no chunk of says something all the same."""
        ...

    def usage(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """What a whole answer says was used, in the hub's shape."""
        ...


class ClientDialect(Protocol):
    """How clients of one API ask and are answered; between them and any upstream is the hub.

    An API is a class under this one and a line in `dialects/__init__.py`.
    """

    name: str
    path: str  # that its clients ask

    @property
    def header(self) -> bytes | None:
        """In lower case.  On a path that APIs share, a request with it is of this API's clients."""
        return None

    @property
    def models(self) -> ModelTeller | None:
        """How requests with `header` are told of models; all others are told as OpenAI's clients."""
        return None

    native: NativeApi
    dialect: str = ""  # the upstreams' dialect that is this API too, if there is one
    keepalive: bytes  # what bridges silence in this API's streams
    content_type: str = "text/event-stream; charset=utf-8"  # of its streams
    formats: frozenset[str] = frozenset({"sse"})  # of upstreams' streams, whose events can pass
    hints: frozenset[str] = frozenset()  # fields of the hub that its clients send unasked

    def owns(self, path: str) -> bool:
        """Whether errors at `path` are told in this API's shape."""
        return path == self.path or path.startswith(f"{self.path}/")

    def native_path(self, path: str, body: dict[str, Any]) -> str:
        """Where an upstream is asked in this API; `path` is what its dialect says of the model."""
        return path

    def exposed(self, body: dict[str, Any]) -> dict[str, Any]:
        """`body` as the configuration's fields, which have the hub's names, are merged with it."""
        return body

    def check(self, body: dict[str, Any]) -> None:
        """Raises InvalidRequest, which names the field, for what no target could answer.

        Afterwards `model` is there, and `stream` is a boolean or is not; where the API streams
        unless it is told not to, it is there.
        """
        ...

    def chat_request(self, body: dict[str, Any], *, drop_unsupported: bool = False) -> dict[str, Any]:
        """A client's request as a chat request in OpenAI's shape; `body` is not changed.

        Raises InvalidRequest, which names the field of `body`, for what is wrong or cannot be kept;
        with `drop_unsupported` the latter is left out.
        """
        ...

    def is_agent(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the client is an agent, which sends tools and settings of the API's own unasked.

        `headers` are the request's, with lower-case names.
        """
        return False

    def agents_request(
        self, body: dict[str, Any], *, drop_unsupported: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """`chat_request` for an agent, and what was left out of it."""
        return self.chat_request(body, drop_unsupported=drop_unsupported), []

    def for_others(self, chat: dict[str, Any]) -> dict[str, Any]:
        """The result of `chat_request`, without fields that only this API's own upstreams use."""
        ...

    def encoder(self, identity: AnswerIdentity, body: dict[str, Any]) -> StreamEncoder: ...

    def answer(
        self, completion: Completion, identity: AnswerIdentity, body: dict[str, Any]
    ) -> dict[str, Any]:
        """A whole answer in this API's shape; `body` is the client's own request."""
        ...

    def error_body(self, error: RouterError) -> dict[str, Any]:
        """What an answer with an error status says."""
        ...
