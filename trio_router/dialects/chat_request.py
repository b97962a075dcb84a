"""A client's chat request: read, and refused where a field cannot be what it must be."""

from __future__ import annotations

from typing import Any

from trio_router.errors import InvalidRequest
from trio_router.jsoncodec import JSONError, loads

_NUMBER = (int, float)
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "stream": ((bool,), "a boolean"),
    "stream_options": ((dict,), "an object"),
    "temperature": (_NUMBER, "a number"),
    "top_p": (_NUMBER, "a number"),
    "frequency_penalty": (_NUMBER, "a number"),
    "presence_penalty": (_NUMBER, "a number"),
    "max_tokens": ((int,), "an integer"),
    "max_completion_tokens": ((int,), "an integer"),
    "n": ((int,), "an integer"),
    "seed": ((int,), "an integer"),
    "logprobs": ((bool,), "a boolean"),
    "top_logprobs": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array"),
    "tools": ((list,), "an array"),
    "tool_choice": ((str, dict), "a string or an object"),
    "parallel_tool_calls": ((bool,), "a boolean"),
    "response_format": ((dict,), "an object"),
    "reasoning_effort": ((str,), "a string"),
    "logit_bias": ((dict,), "an object"),
    "metadata": ((dict,), "an object"),
    "user": ((str,), "a string"),
}


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.  Raises InvalidRequest."""
    try:
        value = loads(data)
    except JSONError:
        raise InvalidRequest("the request's body is not JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the request's body must be a JSON object")
    return value


def parse_chat_request(data: bytes) -> dict[str, Any]:
    """The body of `POST /v1/chat/completions`, unknown fields and all.  Raises InvalidRequest."""
    body = parse_object(data)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a string")
    for name, (kinds, words) in _KINDS.items():
        value = body.get(name)
        if value is not None and not _is(value, kinds):
            raise _wrong(name, words)
    options = body.get("stream_options") or {}
    if not isinstance(options.get("include_usage"), bool | None):
        raise _wrong("stream_options.include_usage", "a boolean")
    _check_messages(body.get("messages"))
    return body


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise _wrong("messages", "an array")
    if not messages:
        raise InvalidRequest("messages must not be empty", param="messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _wrong(f"messages[{i}]", "an object")
        if not isinstance(message.get("role"), str):
            raise _wrong(f"messages[{i}].role", "a string")
        if not isinstance(message.get("content"), str | list | None):
            raise _wrong(f"messages[{i}].content", "a string or an array")
        if not isinstance(message.get("tool_calls"), list | None):
            raise _wrong(f"messages[{i}].tool_calls", "an array")


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # which Python takes for an integer
        return bool in kinds
    if isinstance(value, float) and kinds == (int,):
        return value.is_integer()  # 64.0 is an integer in JSON
    return isinstance(value, kinds)


def _wrong(name: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{name} must be {words}", param=name)
