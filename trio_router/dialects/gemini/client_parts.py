"""Parts of a client's contents -> the hub's content parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.media import check_base64
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.gemini.words import Part

HubPart = dict[str, Any]
# What a client's part may be, in the order in which it is looked for.
_KINDS = ("inlineData", "fileData", "text")
_AUDIO = {
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}
# Names for files without one, which some providers ask for.
_NAMES = {"application/pdf": "file.pdf", "text/plain": "file.txt"}


def part(given: Part, place: str) -> HubPart:
    """Text, or data of some kind.  Raises InvalidRequest, which names the field within `place`."""
    match next((name for name in _KINDS if given.get(name) is not None), None):
        case "text":
            if not isinstance(given["text"], str):
                raise InvalidRequest(f"{place}.text must be a string", param=f"{place}.text")
            return {"type": "text", "text": given["text"]}
        case "inlineData":
            return _inline(given["inlineData"], f"{place}.inlineData")
        case "fileData":
            return _file(given["fileData"], f"{place}.fileData")
    raise InvalidRequest(f"{place} has no data that is known", param=place)


def media(given: Part, place: str) -> HubPart:
    """What stands in a function's response, or in a picture that the model drew."""
    if given.get("text") is not None:
        raise InvalidRequest(f"{place} must have data", param=place)
    return part(given, place)


def _inline(blob: Any, place: str) -> HubPart:
    kind, blob = _typed(blob, place)
    data = plain_base64(blob.get("data"), f"{place}.data")
    if kind in _AUDIO or kind.startswith("audio/"):
        sound = {"data": data, "format": _AUDIO.get(kind, kind.partition("/")[2])}
        return {"type": "input_audio", "input_audio": sound}
    url = f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    name = blob.get("displayName") or _NAMES.get(kind)
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if name else {})}}


def _file(data: Any, place: str) -> HubPart:
    if not isinstance(data, dict) or not isinstance(data.get("fileUri"), str) or not data["fileUri"]:
        raise InvalidRequest(f"{place}.fileUri must be a string", param=f"{place}.fileUri")
    kind, uri = data.get("mimeType"), data["fileUri"]
    if isinstance(kind, str) and kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": uri}}
    name = data.get("displayName")
    return {"type": "file", "file": {"file_url": uri, **({"filename": name} if name else {})}}


def _typed(blob: Any, place: str) -> tuple[str, dict[str, Any]]:
    kind = blob.get("mimeType") if isinstance(blob, dict) else None
    if not isinstance(kind, str) or "/" not in kind:
        raise InvalidRequest(f"{place}.mimeType must be a media type", param=f"{place}.mimeType")
    return kind.partition(";")[0].strip().lower(), blob


def plain_base64(data: Any, place: str) -> str:
    """`data` in base64's plain alphabet with its padding: the API takes the one for URLs too."""
    if isinstance(data, str):
        if "-" in data or "_" in data:
            data = data.replace("-", "+").replace("_", "/")
        data += "=" * (-len(data) % 4)
    check_base64(data, place)
    return str(data)
