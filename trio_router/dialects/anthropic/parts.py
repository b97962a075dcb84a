"""The hub's content parts -> content blocks of the Messages API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.words import IMAGE_TYPES, Block, is_native
from trio_router.dialects.media import check_base64, data_url, text_of_base64
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_KEPT = ("cache_control", "citations", "context")  # the API's own fields that a part may carry


def blocks(content: Any, place: str, unsupported: Unsupported) -> list[Block]:
    """The blocks of a message's content; text of nothing but white space, which the API refuses,
    is left out.  Raises InvalidRequest, which names the part.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or an array", param=place)
    made = [_block(part, f"{place}[{i}]", unsupported) for i, part in enumerate(content)]
    return [block for block in made if block is not None]


def _block(part: Any, place: str, unsupported: Unsupported) -> Block | None:
    if not isinstance(part, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    kind = part.get("type")
    if is_native(kind):
        return part
    match kind:
        case "text" | "refusal":
            text = part.get(kind)
            if not isinstance(text, str):
                raise InvalidRequest(f"{place}.{kind} must be a string", param=f"{place}.{kind}")
            block: Block | None = {"type": "text", "text": text} if text.strip() else None
        case "image_url":
            block = _image(part.get("image_url"), f"{place}.image_url", unsupported)
        case "file":
            block = _file(part.get("file"), f"{place}.file", unsupported)
        case "input_audio":
            unsupported.field(place, f"{place}: audio is not supported")
            return None
        case _:
            raise InvalidRequest(f"{place}.type is no part that Anthropic takes", param=f"{place}.type")
    if block is not None:
        block |= {name: part[name] for name in _KEPT if part.get(name) is not None}
    return block


def _image(image: Any, place: str, unsupported: Unsupported) -> Block | None:
    # `detail` is a hint that the API has no counterpart for: it sizes images itself.
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise InvalidRequest(f"{place} must have a URL", param=place)
    inline = data_url(url, place)
    if inline is None:
        return {"type": "image", "source": _url(url, place)}
    return _inline_image(*inline, place, unsupported)


def _inline_image(kind: str, data: str, place: str, unsupported: Unsupported) -> Block | None:
    if not kind.startswith("image/"):
        raise InvalidRequest(f"{place} is no image: {kind or 'no media type'}", param=place)
    kind = "image/jpeg" if kind == "image/jpg" else kind
    if kind not in IMAGE_TYPES:
        unsupported.field(place, f"{place}: images must be JPEG, PNG, GIF or WebP")
        return None
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _url(url: str, place: str) -> Block:
    if not url.lower().startswith(("https://", "http://")):
        raise InvalidRequest(f"{place} must be an http(s): or data: URL", param=place)
    return {"type": "url", "url": url}


def _file(file: Any, place: str, unsupported: Unsupported) -> Block | None:
    """ "PDF support" and "Files API" say which sources a document may have."""
    if not isinstance(file, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    name, data = file.get("filename"), file.get("file_data")
    block: Block = {"type": "document"}
    if isinstance(file.get("file_id"), str):
        block["source"] = {"type": "file", "file_id": file["file_id"]}
    elif isinstance(file.get("file_url"), str):
        block["source"] = _url(file["file_url"], f"{place}.file_url")
    elif isinstance(data, str):
        inline = data_url(data, f"{place}.file_data")
        if inline is None:
            check_base64(data, f"{place}.file_data")
            inline = _guessed(name), data
        kind, data = inline
        if kind.startswith("image/"):
            return _inline_image(kind, data, f"{place}.file_data", unsupported)
        source = _source(kind, data)
        if source is None:
            unsupported.field(place, f"{place}: documents must be PDF or plain text, not {kind}")
            return None
        block["source"] = source
    else:
        raise InvalidRequest(f"{place} must have file_data or file_id", param=place)
    if isinstance(name, str) and name:
        block["title"] = name
    return block


def _source(kind: str, data: str) -> Block | None:
    if kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": data}
    if kind.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": text_of_base64(data)}
    return None


def _guessed(name: Any) -> str:
    is_text = isinstance(name, str) and name.lower().endswith((".txt", ".md", ".csv"))
    return "text/plain" if is_text else "application/pdf"
