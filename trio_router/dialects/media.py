"""Data that stands in a request itself: `data:` URLs and base64, as several dialects want them."""

from __future__ import annotations

import binascii
import re
from typing import Any

from trio_router.errors import InvalidRequest

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n"
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*);base64,", re.IGNORECASE)


def data_url(url: str, place: str) -> tuple[str, str] | None:
    """Media type and base64 of a `data:` URL; None if it is another URL.

    Raises InvalidRequest if it has no base64 in it.
    """
    if url[:5].lower() != "data:":
        return None
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidRequest(f"{place} must be a data: URL in base64", param=place)
    data = url[head.end() :]
    check_base64(data, place)
    return head[1].lower(), data


def check_base64(data: Any, place: str) -> None:
    """Raises InvalidRequest unless `data` is base64 of something."""
    try:
        good = isinstance(data, str) and bool(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        good = False
    if not good:
        raise InvalidRequest(f"{place} is not base64", param=place)


def is_base64_image(url: str) -> bool:
    """Whether a `data:` URL could be an image's.  Quick: it is looked at once, not decoded."""
    head = _DATA_URL.match(url)
    if head is None or not head[1].lower().startswith("image/"):
        return False
    try:
        data = url[head.end() :].encode("ascii")
    except UnicodeEncodeError:
        return False
    return bool(data) and not data.translate(None, _ALPHABET)
