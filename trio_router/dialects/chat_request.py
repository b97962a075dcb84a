"""A client's chat request: read, and refused where a field cannot be what it must be."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.chat_messages import check_messages, wrong
from trio_router.errors import InvalidRequest, RequestTooLarge
from trio_router.wire.jsoncodec import JSONError, JSONTooLarge, Number, loads_exactly

_NUMBER = (int, float, Number)
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


def parse_object(data: bytes | bytearray, model: str | None = None) -> dict[str, Any]:
    """The JSON object in a request's body; `model` is what the path names, if it does.

    Raises InvalidRequest.
    """
    try:
        value = loads_exactly(data)
    except JSONTooLarge as fault:
        raise RequestTooLarge(f"the request's body cannot be taken: {fault}") from None
    except JSONError:
        raise InvalidRequest("the request's body is not JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the request's body must be a JSON object")
    if model is not None:
        value["model"] = model
    return value


def parse_chat_request(data: bytes | bytearray) -> dict[str, Any]:
    """The body of `POST /v1/chat/completions`, unknown fields and all.  Raises InvalidRequest."""
    body = parse_object(data)
    check_chat_request(body)
    return body


def check_chat_request(body: dict[str, Any]) -> None:
    """Raises InvalidRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", "a string")
    for name, value in body.items():  # there are fewer of these than kinds
        known = _KINDS.get(name)
        if known is not None and value is not None and not _is(value, known[0]):
            raise wrong(name, known[1])
    options = body.get("stream_options")
    if options and not isinstance(options.get("include_usage"), bool | None):
        raise wrong("stream_options.include_usage", "a boolean")
    check_messages(body.get("messages"))


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # which Python takes for an integer
        return bool in kinds
    if isinstance(value, float) and kinds == (int,):
        return value.is_integer()  # 64.0 is an integer in JSON
    return isinstance(value, kinds)
