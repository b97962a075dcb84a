"""A client's embedding request, in OpenAI's shape: read, and refused where a field is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.chat_request import parse_object
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Set

    from trio_router.dialects.base import Unsupported

# What every upstream can be asked: `user` and `encoding_format` are ours to see to.
_ALWAYS = frozenset({"model", "input", "user", "encoding_format"})
_INPUTS = "a string, an array of strings, an array of tokens or an array of such arrays"


def parse_embedding_request(data: bytes | bytearray, model: str | None = None) -> dict[str, Any]:
    """The body of `POST /v1/embeddings`, unknown fields and all.  Raises InvalidRequest."""
    body = parse_object(data, model)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a string")
    _check_input(body.get("input"))
    dimensions = body.get("dimensions")
    if dimensions is not None and (not _is_integer(dimensions) or dimensions < 1):
        raise _wrong("dimensions", "a positive integer")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise _wrong("encoding_format", "`float` or `base64`")
    if not isinstance(body.get("user"), str | None):
        raise _wrong("user", "a string")
    return body


def _check_input(value: Any) -> None:
    if value is None:
        raise _wrong("input", _INPUTS)
    if value in ("", []):
        raise InvalidRequest("input must not be empty", param="input")
    if not (isinstance(value, str) or _is_list_of_one_kind(value)):
        raise _wrong("input", _INPUTS)


def _is_list_of_one_kind(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return (
        all(isinstance(item, str) for item in value)
        or _is_tokens(value)
        or all(isinstance(item, list) and item and _is_tokens(item) for item in value)
    )


def _is_tokens(value: list[Any]) -> bool:
    return all(_is_integer(item) for item in value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def texts_of(body: dict[str, Any], who: str) -> list[str]:
    """The texts to embed.  Raises InvalidRequest for tokens, which only OpenAI's models share."""
    given = body["input"]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts[0], str):
        raise InvalidRequest(
            f"{who} takes text, not tokens: input must be a string or strings", param="input"
        )
    return texts


def refuse_others(body: dict[str, Any], known: Set[str], unsupported: Unsupported) -> None:
    """Raises InvalidRequest for a field that is not among `known` and those every upstream takes."""
    for name, value in body.items():
        if name not in known and name not in _ALWAYS and value is not None:
            unsupported.field(name)


def _wrong(name: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{name} must be {words}", param=name)
