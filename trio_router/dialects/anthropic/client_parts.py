"""Content blocks of a Messages request -> the hub's content parts."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.anthropic.words import Block, is_native
from trio_router.dialects.media import base64_of_text, check_base64
from trio_router.errors import InvalidRequest

Part = dict[str, Any]
_KEPT = ("cache_control", "citations", "context")
_PLAIN = frozenset({"type", "text"})


def simple(made: list[Part]) -> str | list[Part]:
    """One plain text as a string, which every target takes; "" for nothing."""
    if not made:
        return ""
    if len(made) == 1 and made[0].get("type") == "text" and made[0].keys() == _PLAIN:
        text: str = made[0]["text"]
        return text
    return made


def parts(content: Any, place: str, *, only_text: bool = False) -> list[Part]:
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or an array", param=place)
    for number, block in enumerate(content):
        if only_text and isinstance(block, dict) and block.get("type") != "text":
            where = f"{place}[{number}].type"
            raise InvalidRequest(f"{where} must be text", param=where)
    return [part(block, f"{place}[{number}]") for number, block in enumerate(content)]


def part(block: Any, place: str) -> Part:
    """Blocks that only the API has are kept as they are: a target without them refuses them.

    Raises InvalidRequest, which names the field within `place`.
    """
    if not isinstance(block, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    match block.get("type"):
        case "text":
            if not isinstance(block.get("text"), str):
                raise InvalidRequest(f"{place}.text must be a string", param=f"{place}.text")
            made: Part | None = {"type": "text", "text": block["text"]}
        case "image":
            made = _image(_source(block, place), f"{place}.source")
        case "document":
            made = _document(block, _source(block, place), f"{place}.source")
        case kind if is_native(kind):
            made = None
        case _:
            raise InvalidRequest(f"{place}.type is no block that is known", param=f"{place}.type")
    if made is None:
        return block
    return made | {name: block[name] for name in _KEPT if block.get(name) is not None}


def _source(block: Block, place: str) -> Block:
    source = block.get("source")
    if not isinstance(source, dict):
        raise InvalidRequest(f"{place}.source must be an object", param=f"{place}.source")
    return source


def _image(source: Block, place: str) -> Part | None:
    match source.get("type"):
        case "base64":
            kind = source.get("media_type")
            if not isinstance(kind, str) or not kind.startswith("image/"):
                where = f"{place}.media_type"
                raise InvalidRequest(f"{where} is no image's: {kind!r}", param=where)
            check_base64(source.get("data"), f"{place}.data")
            url = f"data:{kind};base64,{source['data']}"
        case "url":
            url = _url(source, place)
        case "file":
            return None
        case _:
            raise InvalidRequest(f"{place}.type must be base64, url or file", param=f"{place}.type")
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Block, source: Block, place: str) -> Part | None:
    file: dict[str, Any] = {}
    match source.get("type"):
        case "base64":
            kind = source.get("media_type")
            if not isinstance(kind, str) or "/" not in kind:
                where = f"{place}.media_type"
                raise InvalidRequest(f"{where} must be a media type", param=where)
            check_base64(source.get("data"), f"{place}.data")
            file["file_data"] = f"data:{kind};base64,{source['data']}"
        case "text":
            if not isinstance(source.get("data"), str):
                raise InvalidRequest(f"{place}.data must be a string", param=f"{place}.data")
            data = base64_of_text(source["data"])
            if not data:
                return None
            file["file_data"] = f"data:text/plain;base64,{data}"
        case "url":
            file["file_url"] = _url(source, place)
        case "file":
            if not isinstance(source.get("file_id"), str):
                where = f"{place}.file_id"
                raise InvalidRequest(f"{where} must be a string", param=where)
            file["file_id"] = source["file_id"]
        case "content":
            return None
        case _:
            raise InvalidRequest(f"{place}.type is none that is known", param=f"{place}.type")
    if block.get("title"):
        file["filename"] = block["title"]
    return {"type": "file", "file": file}


def _url(source: Block, place: str) -> str:
    url = source.get("url")
    if not isinstance(url, str) or not url.lower().startswith(("https://", "http://")):
        raise InvalidRequest(f"{place}.url must be an http(s): URL", param=f"{place}.url")
    return url
