"""What clients of Gemini's API ask beside content: embeddings, and how many tokens a request has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import UpstreamRequest
from trio_router.dialects.gemini.client_embeddings import (
    counted,
    embedding_request,
    read_openai,
    resource,
    told,
    with_model,
)
from trio_router.dialects.native import PlainAnswer
from trio_router.errors import MalformedJSON
from trio_router.relay.counting import CountCall
from trio_router.relay.side_calls import SideCall, embeddings_of
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.answer import AnswerReader
    from trio_router.dialects.base import EmbeddingDialect, Embeddings
    from trio_router.relay.call import OpenedAnswer, Whole
    from trio_router.routing.target import Target

_VECTORS = 1 << 26  # bytes of an answer, as of OpenAI's embeddings
_API = "gemini"  # the name of the clients' API
_BYTES_A_TOKEN = 4  # a rough guess, as of answers whose upstream reports no usage
_MEDIUM = 258 * _BYTES_A_TOKEN  # Gemini counts a small picture as 258 tokens


class GoogleCountCall(CountCall):
    """`:countTokens`.  `body` has the model's name under the hub's name for it."""

    def _own_request(self, path: str, target: Target) -> UpstreamRequest:
        body = {name: value for name, value in self._body.items() if name != "model"}
        return UpstreamRequest(f"{path}:countTokens", dumps(with_model(body, resource(path))))

    def _asked(self) -> dict[str, Any]:
        return {**counted(self._body), "model": self._body["model"]}

    @staticmethod
    def told(tokens: int) -> bytes:
        return dumps({"totalTokens": tokens})

    def estimated(self) -> bytes:
        return self.told(max(1, _size(counted(self._body)) // _BYTES_A_TOKEN))


def _size(value: Any) -> int:
    """Of what a model reads, in bytes; pictures and sounds count as a page of text."""
    if isinstance(value, str):
        return len(value.encode(errors="surrogatepass"))
    if isinstance(value, list):
        return sum(map(_size, value))
    if not isinstance(value, dict):
        return _BYTES_A_TOKEN
    return sum(
        _MEDIUM if name in ("inlineData", "inline_data", "fileData", "file_data") else _size(held)
        for name, held in value.items()
        if name not in ("role", "model", "thoughtSignature", "thought_signature")
    )


class GoogleEmbeddingCall(SideCall):
    """`:embedContent`; if `are_many`, `:batchEmbedContents`."""

    max_answer: int | None = _VECTORS

    def __init__(self, body: dict[str, Any], *, are_many: bool, is_heavy: bool = False) -> None:
        super().__init__(body, is_heavy=is_heavy)
        self._are_many = are_many
        self._count = len(body.get("requests") or ()) if are_many else 1

    def request_for(self, target: Target) -> UpstreamRequest:
        if path := target.native.get(_API):
            verb = "batchEmbedContents" if self._are_many else "embedContent"
            body = with_model(self._body, resource(path))
            return UpstreamRequest(f"{path}:{verb}", dumps(body))
        asked = embedding_request(self._body, are_many=self._are_many)
        self._count = len(asked["input"])
        # `taskType` and `title` are hints, for models that know them: others embed for all tasks alike.
        body = target.body_for(asked)
        return embeddings_of(target).request(body, drop_unsupported=target.drop_unsupported)

    def whole(self, answer: OpenedAnswer) -> Whole:
        reader, target = answer.reader(), answer.target
        if _API in target.native:
            return PlainAnswer(reader)
        return _TranslatedVectors(reader, embeddings_of(target), self._count, are_many=self._are_many)


class _TranslatedVectors(PlainAnswer):
    """Another API's embeddings, in the shape of Gemini's; see WholeAnswer."""

    def __init__(
        self, reader: AnswerReader, dialect: EmbeddingDialect, count: int, *, are_many: bool
    ) -> None:
        super().__init__(reader)
        self._dialect = dialect
        self._count = count
        self._are_many = are_many

    def _read(self, body: bytes, value: dict[str, Any], text: bytes, wrong: int) -> bytes:
        super()._read(body, value, text, wrong)
        try:
            found: Embeddings = (
                read_openai(value) if self._dialect.is_openai else self._dialect.embeddings(value)
            )
            if len(found.vectors) != self._count:
                what = f"{len(found.vectors)} vectors for {self._count} texts"
                raise MalformedJSON(f"the upstream's embeddings are {what}")
            answer = dumps(told(found, are_many=self._are_many))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise MalformedJSON("the upstream's embeddings are not in its API's shape") from None
        tokens = found.prompt_tokens or 0
        self.reader.usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return answer
