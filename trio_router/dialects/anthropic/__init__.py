"""Anthropic's Messages API, `POST /v1/messages`: as an upstream's dialect and as a client's.

Field names and rules are from the API reference, platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.answer import to_completion, to_message
from trio_router.dialects.anthropic.client_request import chat_request, check_kinds
from trio_router.dialects.anthropic.client_stream import MessagesEncoder, frame
from trio_router.dialects.anthropic.counting import AnthropicCounter
from trio_router.dialects.anthropic.errors import error_body
from trio_router.dialects.anthropic.listing import AnthropicListing
from trio_router.dialects.anthropic.others import for_others
from trio_router.dialects.anthropic.request import build_body
from trio_router.dialects.anthropic.stream import MessagesDecoder
from trio_router.dialects.anthropic.vertex import (
    VertexCounter,
    build_request,
    model_path,
    predicted,
)
from trio_router.dialects.base import (
    AnswerIdentity,
    ClientDialect,
    Completion,
    Dialect,
    Unsupported,
    UpstreamRequest,
)
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.dialects.base import (
        ChunkDecoder,
        ModelListing,
        NativeApi,
        StreamEncoder,
        TokenCounter,
    )
    from trio_router.errors import RouterError

__all__ = ["AnthropicDialect", "MessagesClient", "VertexAnthropicDialect", "for_others"]

_OWN = frozenset(
    {
        "message",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
    }
)


def _recognises(record: dict[str, Any]) -> bool:
    kind = record.get("type")
    return isinstance(kind, str) and kind in _OWN and "choices" not in record


class AnthropicDialect(Dialect):
    name = "anthropic"
    trims_beginning = True
    headers: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
    listing: ModelListing | None = AnthropicListing()
    counter: TokenCounter | None = AnthropicCounter()

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        """Usage always comes, asked for or not."""
        unsupported = Unsupported("Anthropic", drop=drop_unsupported)
        return UpstreamRequest("/messages", dumps(build_body(body, unsupported)))

    def recognises(self, record: dict[str, Any]) -> bool:
        return _recognises(record)

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return MessagesDecoder(identity)

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        return to_completion(record, identity)

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"x-api-key": api_key}

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        return {"messages": "/messages"}


class VertexAnthropicDialect(AnthropicDialect):
    """On Google's Vertex AI, whose base URL has the project, the location and the publisher."""

    headers: Mapping[str, str] = {}
    listing: ModelListing | None = None  # there is none of what a project can ask
    counter: TokenCounter | None = VertexCounter()
    counts_natively = False

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        return build_request(body, drop_unsupported=drop_unsupported)

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"}

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        return {"messages": model_path(model)} if model else {}

    def native_request(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> UpstreamRequest:
        return predicted(path, body, headers)


class MessagesApi:
    """The API as upstreams have it: see NativeApi."""

    end = b""
    needs_end = False
    forwarded = frozenset({b"anthropic-beta", b"anthropic-version"})
    tells_errors = False

    def request(self, body: dict[str, Any], *, ask_usage: bool) -> dict[str, Any]:
        return body

    def recognises(self, record: dict[str, Any]) -> bool:
        return _recognises(record)

    def whole(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return MessagesDecoder(identity)

    def missing_end(self, decoder: ChunkDecoder | None) -> bytes:
        events = decoder.open_end() if isinstance(decoder, MessagesDecoder) else []
        return b"".join(map(frame, [*events, {"type": "message_stop"}]))

    def says(self, event: dict[str, Any]) -> bool:
        return False

    def usage(self, record: dict[str, Any]) -> dict[str, Any] | None:
        usage = to_completion(record, AnswerIdentity("", 0, "")).get("usage")
        return usage if isinstance(usage, dict) else None


def _asked_model(body: dict[str, Any]) -> str:
    """The name that a translated answer tells: the client's own.

    Claude Code sends no thinking back that another model has signed, and compares the names.
    """
    model = body.get("model")
    return model if isinstance(model, str) else ""


class MessagesClient(ClientDialect):
    """Clients of the Messages API, such as Claude Code and the `anthropic` SDKs."""

    name = "messages"
    path = "/v1/messages"
    dialect = "anthropic"
    header = b"anthropic-version"
    models = AnthropicListing()
    native: NativeApi = MessagesApi()
    keepalive = MessagesEncoder.keepalive
    formats = frozenset({"sse", "eventstream"})

    def check(self, body: dict[str, Any]) -> None:
        check_kinds(body)

    def chat_request(self, body: dict[str, Any], *, drop_unsupported: bool = False) -> dict[str, Any]:
        """Nothing is dropped here: what other targets cannot do, they refuse or drop themselves."""
        return chat_request(body)

    def for_others(self, chat: dict[str, Any]) -> dict[str, Any]:
        return for_others(chat)

    def encoder(self, identity: AnswerIdentity, body: dict[str, Any]) -> StreamEncoder:
        return MessagesEncoder(identity, _asked_model(body))

    def answer(
        self, completion: Completion, identity: AnswerIdentity, body: dict[str, Any]
    ) -> dict[str, Any]:
        message = to_message(completion, identity)
        return {**message, "model": _asked_model(body) or message["model"]}

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return error_body(error)
