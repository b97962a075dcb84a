"""OpenAI's Responses API, `POST /v1/responses`, as a client's: nothing is remembered between requests.

Fields, items and events are from the API reference, platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import ClientDialect
from trio_router.dialects.responses.native import ResponsesApi
from trio_router.dialects.responses.request import chat_request, check
from trio_router.dialects.responses.response import error_body
from trio_router.dialects.responses.stream import ResponsesEncoder, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.dialects.base import AnswerIdentity, Completion, NativeApi, StreamEncoder
    from trio_router.errors import RouterError

__all__ = ["ResponsesClient"]


class ResponsesClient(ClientDialect):
    """Clients of the Responses API, such as Codex and the `openai` SDKs."""

    name = "responses"
    path = "/v1/responses"
    native: NativeApi = ResponsesApi()
    keepalive = b": keep-alive\n\n"

    def check(self, body: dict[str, Any]) -> None:
        check(body)

    def chat_request(self, body: dict[str, Any], *, drop_unsupported: bool = False) -> dict[str, Any]:
        return chat_request(body, drop_unsupported=drop_unsupported)

    def is_agent(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Codex, whichever of its forms asks: they say so in both of these headers."""
        return any(
            name in (b"originator", b"user-agent") and value[:5].lower() == b"codex"
            for name, value in headers
        )

    def agents_request(
        self, body: dict[str, Any], *, drop_unsupported: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        left_out: list[str] = []
        chat = chat_request(body, drop_unsupported=drop_unsupported, left_out=left_out)
        return chat, left_out

    def for_others(self, chat: dict[str, Any]) -> dict[str, Any]:
        return chat

    def encoder(self, identity: AnswerIdentity, body: dict[str, Any]) -> StreamEncoder:
        return ResponsesEncoder(identity, body)

    def answer(
        self, completion: Completion, identity: AnswerIdentity, body: dict[str, Any]
    ) -> dict[str, Any]:
        return whole(completion, identity, body)

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return error_body(error)
