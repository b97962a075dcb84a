"""Signature Version 4, from the published algorithm with the standard library alone."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


def canonical_request(
    method: str, path: str, query: str, headers: Mapping[str, str], signed: list[str], body: bytes
) -> str:
    """`path` and `query` are as they were sent; the path is encoded once more."""
    pairs = sorted(part.partition("=")[::2] for part in query.split("&") if part)
    lines = [
        method,
        quote(path or "/", safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in pairs),
        *(f"{name}:{' '.join(headers[name].split())}" for name in signed),
        "",
        ";".join(signed),
        hashlib.sha256(body).hexdigest(),
    ]
    return "\n".join(lines)


def signature(secret: str, date: str, region: str, service: str, at: str, canonical: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{at}\n{date}/{region}/{service}/aws4_request\n{digest}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def parsed(authorization: str) -> tuple[str, str, str, str, list[str], str] | None:
    """Key id, date, region, service, signed headers and signature; None for something else."""
    found = _AUTHORIZATION.fullmatch(authorization)
    if found is None:
        return None
    return found[1], found[2], found[3], found[4], found[5].split(";"), found[6]
