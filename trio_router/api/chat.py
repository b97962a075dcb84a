"""A chat request as it comes: in the chat API's shape, or in another one, as some agents send it."""

from __future__ import annotations

from typing import Any

from trio_router.dialects import CLIENTS
from trio_router.dialects.chat_request import check_chat_request, parse_object
from trio_router.dialects.chat_shapes import has_flat_tools, in_chat_shape
from trio_router.dialects.hub import as_dict, dicts
from trio_router.errors import InvalidRequest
from trio_router.relay.call import ChatCall, FreeFormChatCall

_RESPONSES = "/v1/responses"


def chat_call(data: bytes | bytearray, model: str | None = None) -> ChatCall:
    """What the body of `POST /v1/chat/completions` asks for.  Raises InvalidRequest.

    `model` is what the path names, if it does.
    """
    body = parse_object(data, model)
    if "messages" not in body and "input" in body:
        return _of_responses(body)
    if has_flat_tools(body):
        body, free = in_chat_shape(body)
        check_chat_request(body)
        return FreeFormChatCall(body, free, ())
    check_chat_request(body)
    return ChatCall(body)


def _of_responses(body: dict[str, Any]) -> ChatCall:
    """A request of the Responses API that came to the wrong path; chunks are what is expected."""
    if not isinstance(body.get("model"), str):
        raise InvalidRequest("model must be a string", param="model")
    chat, left_out = CLIENTS[_RESPONSES].agents_request(body)
    if "stream_options" in chat:
        wanted = as_dict(body.get("stream_options")).get("include_usage")
        chat["stream_options"] = {"include_usage": bool(wanted)}
    check_chat_request(chat)
    tools = dicts(body.get("tools"))
    free = frozenset(str(tool.get("name")) for tool in tools if tool.get("type") == "custom")
    return FreeFormChatCall(chat, free, left_out)
