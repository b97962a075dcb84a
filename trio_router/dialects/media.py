"""Data that stands in a request itself: `data:` URLs and base64, as several dialects want them."""

from __future__ import annotations

import binascii
import re
from typing import Any

from trio_router.errors import InvalidRequest
from trio_router.wire.slicing import SLICE, decoded, encoded, joined, slices

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n"
_BYTES = SLICE // 4 * 3  # bytes that make SLICE characters of base64
_HEAD = 1024  # characters of a data URL's head; the pattern takes memory for each parameter in it
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*);base64,", re.IGNORECASE)


def data_url(url: str, place: str) -> tuple[str, str] | None:
    """Media type and base64 of a `data:` URL; None if it is another URL.

    Raises InvalidRequest if it has no base64 in it.
    """
    if url[:5].lower() != "data:":
        return None
    head = _DATA_URL.match(url, 0, _HEAD)
    if head is None:
        raise InvalidRequest(f"{place} must be a data: URL in base64", param=place)
    data = url[head.end() :]
    check_base64(data, place)
    return head[1].lower(), data


def check_base64(data: Any, place: str) -> None:
    """Raises InvalidRequest unless `data` is base64 of something."""
    if not (isinstance(data, str) and data and _is_base64(data)):
        raise InvalidRequest(f"{place} is not base64", param=place)


def is_base64_image(url: str) -> bool:
    """Whether a `data:` URL could be an image's.  Quick: it is looked at once, not decoded."""
    head = _DATA_URL.match(url, 0, _HEAD)
    if head is None or not head[1].lower().startswith("image/"):
        return False
    return len(url) > head.end() and all(map(_is_in_alphabet, slices(url, head.end())))


def text_of_base64(data: str) -> str:
    """The text whose base64 is `data`, which was checked; U+FFFD where it is not UTF-8."""
    return joined(decoded(map(binascii.a2b_base64, slices(data)), "replace"))


def base64_of_text(text: str) -> str:
    """The base64 of `text` in UTF-8, with a question mark for a lone surrogate."""
    pieces = slices(encoded(text, "replace"), size=_BYTES)
    return joined(binascii.b2a_base64(piece, newline=False).decode() for piece in pieces)


def _is_in_alphabet(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, _ALPHABET)


def _is_base64(text: str) -> bool:
    end = len(text)
    for part in slices(text):
        end -= len(part)
        try:
            made = binascii.a2b_base64(part, strict_mode=True)
        except ValueError:
            return False
        if not made or (part.endswith("=") and end):  # what is padded ends there
            return False
    return True
