"""The hub's content parts -> content blocks of Converse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import as_dict, dicts
from trio_router.dialects.media import check_base64, data_url
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported
    from trio_router.dialects.bedrock.words import Block

_IMAGES = {"jpeg": "jpeg", "jpg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_FORMATS = frozenset(_DOCUMENTS.values())
_VIDEOS = frozenset({"mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv"})
# What a document's name may hold ("DocumentBlock"): no two spaces in a row either.
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_SPACES = re.compile(r"\s+")
_LONGEST_NAME = 200


class PartReader:
    """Reads the parts of one conversation: no two documents of it have the same name."""

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._names: set[str] = set()

    def blocks(self, content: Any, place: str) -> list[Block]:
        """The blocks of a message's content, with a cache point behind each that is marked.

        Text of nothing but white space, which the API refuses, is left out.  Raises InvalidRequest,
        which names the part.
        """
        if content is None:
            return []
        if isinstance(content, str):
            return [{"text": content}] if content.strip() else []
        if not isinstance(content, list):
            raise InvalidRequest(f"{place} must be a string or an array", param=place)
        made: list[Block] = []
        for number, part in enumerate(content):
            made += self.part(part, f"{place}[{number}]")
        return made

    def part(self, part: Any, place: str) -> list[Block]:
        """One part: a block, and a cache point if it is marked; perhaps nothing."""
        if not isinstance(part, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        block = self._block(part, place)
        if block is None:
            return []
        return [block, *cache_point(part)]

    def _block(self, part: dict[str, Any], place: str) -> Block | None:
        kind = part.get("type")
        match kind:
            case "text" | "refusal":
                text = part.get(kind)
                if not isinstance(text, str):
                    raise InvalidRequest(f"{place}.{kind} must be a string", param=f"{place}.{kind}")
                return {"text": text} if text.strip() else None
            case "image_url":
                return self._image(part.get("image_url"), f"{place}.image_url")
            case "file":
                return self._file(part, f"{place}.file")
            case "input_audio":
                return _audio(part.get("input_audio"), f"{place}.input_audio")
            case "search_result":
                return _search_result(part)
            case "image" | "document" | "container_upload":
                self._unsupported.field(place, f"{place}: {kind} must hold its data")
                return None
        if isinstance(kind, str) and kind.endswith(("_tool_use", "_tool_result")):
            self._unsupported.field(place, f"{place}: {kind} is not supported")
            return None
        raise InvalidRequest(f"{place}.type is no part that Bedrock takes", param=f"{place}.type")

    def _image(self, image: Any, place: str) -> Block | None:
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise InvalidRequest(f"{place} must have a URL", param=place)
        if url.startswith("s3://"):
            return _stored("image", _IMAGES.get(_ending(url), "png"), url)
        inline = data_url(url, place)
        if inline is None:
            self._unsupported.field(place, f"{place}: an image must be a data: or s3: URL")
            return None
        return self._inline_image(*inline, place)

    def _inline_image(self, kind: str, data: str, place: str) -> Block | None:
        family, _, name = kind.partition("/")
        if family != "image":
            raise InvalidRequest(f"{place} is no image: {kind or 'no media type'}", param=place)
        if name not in _IMAGES:
            self._unsupported.field(place, f"{place}: images must be JPEG, PNG, GIF or WebP")
            return None
        return {"image": {"format": _IMAGES[name], "source": {"bytes": data}}}

    def _file(self, part: dict[str, Any], place: str) -> Block | None:
        file = part.get("file")
        if not isinstance(file, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        name = file["filename"] if isinstance(file.get("filename"), str) else ""
        data, url = file.get("file_data"), file.get("file_url")
        if isinstance(url, str) and url.startswith("s3://"):
            ending = _ending(url)
            if ending in _VIDEOS:
                return _stored("video", ending, url)
            return self._document(part, ending, name, {"s3Location": {"uri": url}}, place)
        if not isinstance(data, str):
            self._unsupported.field(place, f"{place}: a file must have file_data, or an s3: URL")
            return None
        inline = data_url(data, f"{place}.file_data")
        if inline is None:
            check_base64(data, f"{place}.file_data")
            inline = "", data
        kind, data = inline
        if kind.startswith("image/"):
            return self._inline_image(kind, data, f"{place}.file_data")
        if kind.startswith("video/"):
            ending = kind.partition("/")[2]
            return {"video": {"format": ending, "source": {"bytes": data}}}
        ending = _DOCUMENTS.get(kind) or _ending(name) or ("" if kind else "pdf")
        return self._document(part, ending, name, {"bytes": data}, place)

    def _document(
        self, part: dict[str, Any], ending: str, name: str, source: Block, place: str
    ) -> Block | None:
        if ending not in _FORMATS:
            known = ", ".join(sorted(_FORMATS))
            self._unsupported.field(place, f"{place}: documents must be one of {known}")
            return None
        told = {"format": ending, "name": self._named(name, ending), "source": source}
        if as_dict(part.get("citations")).get("enabled"):
            told["citations"] = {"enabled": True}
        if isinstance(part.get("context"), str):
            told["context"] = part["context"]
        return {"document": told}

    def _named(self, name: str, ending: str) -> str:
        """A name that the API takes.  The same conversation gets the same names in its next turn."""
        plain = _NOT_IN_A_NAME.sub("-", name.removesuffix(f".{ending}"))
        plain = _SPACES.sub(" ", plain).strip(" -")[:_LONGEST_NAME] or "document"
        told, number = plain, 2
        while told in self._names:
            told, number = f"{plain} ({number})", number + 1
        self._names.add(told)
        return told


def cache_point(marked: dict[str, Any]) -> list[Block]:
    """What `cache_control` is here: a block of its own, behind what is marked."""
    mark = marked.get("cache_control")
    if not isinstance(mark, dict):
        return []
    lasting = {"ttl": mark["ttl"]} if mark.get("ttl") in ("5m", "1h") else {}
    return [{"cachePoint": {"type": "default", **lasting}}]


def _stored(kind: str, ending: str, url: str) -> Block:
    return {kind: {"format": ending, "source": {"s3Location": {"uri": url}}}}


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _audio(audio: Any, place: str) -> Block:
    if not isinstance(audio, dict) or not isinstance(audio.get("format"), str):
        raise InvalidRequest(f"{place} must have data and a format", param=place)
    check_base64(audio.get("data"), f"{place}.data")
    return {"audio": {"format": audio["format"], "source": {"bytes": audio["data"]}}}


def _search_result(part: dict[str, Any]) -> Block:
    texts = [{"text": piece.get("text") or ""} for piece in dicts(part.get("content"))]
    told: Block = {
        "source": str(part.get("source") or ""),
        "title": str(part.get("title") or ""),
        "content": texts,
    }
    if as_dict(part.get("citations")).get("enabled"):
        told["citations"] = {"enabled": True}
    return {"searchResult": told}
