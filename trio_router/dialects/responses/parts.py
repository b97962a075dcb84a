"""Content parts of input items -> the hub's content parts."""

from __future__ import annotations

from typing import Any

from trio_router.errors import InvalidRequest

Part = dict[str, Any]


def wrong(place: str, why: str) -> InvalidRequest:
    """`place` is the field's place in the request, as in "input[0].content"."""
    return InvalidRequest(f"{place} {why}", param=place)


def string(fields: dict[str, Any], name: str, place: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise wrong(f"{place}.{name}", "must be a string")
    return value


def content(value: Any, place: str) -> str | list[Part]:
    """One plain text as a string, which every target takes.  Raises InvalidRequest."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(place, "must be a string or an array")
    made = [_part(part, f"{place}[{number}]") for number, part in enumerate(value)]
    return simple(made)


def simple(made: list[Part]) -> str | list[Part]:
    if not made:
        return ""
    if len(made) == 1 and made[0].keys() == {"type", "text"}:
        text: str = made[0]["text"]
        return text
    return made


def _part(part: Any, place: str) -> Part:
    if not isinstance(part, dict):
        raise wrong(place, "must be an object")
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": string(part, "text", place)}
        case "refusal":
            return {"type": "refusal", "refusal": string(part, "refusal", place)}
        case "input_image":
            return _image(part, place)
        case "input_file":
            return _file(part, place)
        case "input_audio":
            audio = part.get("input_audio")
            if not isinstance(audio, dict):
                raise wrong(f"{place}.input_audio", "must be an object")
            for name in ("data", "format"):
                string(audio, name, f"{place}.input_audio")
            return {"type": "input_audio", "input_audio": audio}
    raise wrong(f"{place}.type", "is no part that is known")


def _image(part: Part, place: str) -> Part:
    url = part.get("image_url")
    if url is None and part.get("file_id") is not None:
        raise wrong(f"{place}.file_id", "is not supported: give the image as image_url")
    if not isinstance(url, str):
        raise wrong(f"{place}.image_url", "must be a string")
    if not url.lower().startswith(("data:image/", "https://", "http://")):
        raise wrong(f"{place}.image_url", "must be an http(s): URL, or an image's data: URL")
    image = {"url": url}
    if isinstance(part.get("detail"), str):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Part, place: str) -> Part:
    names = ("file_data", "file_id", "file_url", "filename")
    file = {name: string(part, name, place) for name in names if part.get(name) is not None}
    if not file.keys() & {"file_data", "file_id", "file_url"}:
        raise wrong(f"{place}.file_data", "must be given, or file_id or file_url")
    return {"type": "file", "file": file}
