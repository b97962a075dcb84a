"""The hub's content parts -> parts of the Gemini API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.media import check_base64, data_url
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported
    from trio_router.dialects.gemini.words import Part

# Media types by the end of a name, for what does not say its own.
_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
}


def parts(content: Any, place: str, unsupported: Unsupported) -> list[Part]:
    """The parts of a message's content.  Raises InvalidRequest, which names the part."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content else []
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or an array", param=place)
    made = [_part(part, f"{place}[{i}]", unsupported) for i, part in enumerate(content)]
    return [part for part in made if part is not None]


def image(given: Any, place: str) -> Part:
    """An `image_url`."""
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise InvalidRequest(f"{place} must have a URL", param=place)
    # `detail` is a hint that no single image has a counterpart for.
    if inline := data_url(url, place):
        kind, data = inline
        if not kind.startswith("image/"):
            raise InvalidRequest(f"{place} is no image: {kind or 'no media type'}", param=place)
        return _inline("image/jpeg" if kind == "image/jpg" else kind, data)
    return _by_url(url, place)


def _part(part: Any, place: str, unsupported: Unsupported) -> Part | None:
    if not isinstance(part, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    kind = part.get("type")
    match kind:
        case "text" | "refusal":
            text = part.get(kind)
            if not isinstance(text, str):
                raise InvalidRequest(f"{place}.{kind} must be a string", param=f"{place}.{kind}")
            return {"text": text} if text else None
        case "image_url":
            return image(part.get("image_url"), f"{place}.image_url")
        case "input_audio":
            return _audio(part.get("input_audio"), f"{place}.input_audio")
        case "file":
            return _file(part.get("file"), f"{place}.file", unsupported)
    raise InvalidRequest(f"{place}.type is no part that Gemini takes", param=f"{place}.type")


def _audio(audio: Any, place: str) -> Part:
    if not isinstance(audio, dict) or not isinstance(audio.get("format"), str):
        raise InvalidRequest(f"{place} must have data and a format", param=place)
    check_base64(audio.get("data"), f"{place}.data")
    return _inline(f"audio/{audio['format']}", audio["data"])


def _file(file: Any, place: str, unsupported: Unsupported) -> Part | None:
    if not isinstance(file, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    name, data = file.get("filename"), file.get("file_data")
    if isinstance(data, str):
        where = f"{place}.file_data"
        inline = data_url(data, where)
        if inline is None:
            check_base64(data, where)
            return _inline(_type_of(name) or "application/pdf", data)
        return _inline(inline[0] or _type_of(name) or "application/pdf", inline[1])
    uri = file.get("file_url") or file.get("file_id")
    if not isinstance(uri, str):
        raise InvalidRequest(f"{place} must have file_data", param=place)
    if "://" not in uri:
        # An id of another provider's; Gemini's own Files API names files by their URI.
        unsupported.field(f"{place}.file_id")
        return None
    return _by_url(uri, place, _type_of(name))


def _by_url(url: str, place: str, kind: str | None = None) -> Part:
    """ "File input methods": public URLs, the Files API's own and Cloud Storage's."""
    if not url.lower().startswith(("https://", "http://", "gs://")):
        raise InvalidRequest(f"{place} must be an http(s):, gs: or data: URL", param=place)
    data = {"fileUri": url}
    if kind := kind or _type_of(url.partition("?")[0].partition("#")[0]):
        data = {"mimeType": kind, **data}
    return {"fileData": data}


def _inline(kind: str, data: str) -> Part:
    return {"inlineData": {"mimeType": kind, "data": data}}


def _type_of(name: Any) -> str | None:
    return _TYPES.get(name.rpartition(".")[2].lower()) if isinstance(name, str) else None
