"""The heads of HTTP/2 requests: checked, and converted to the form of HTTP/1.1.

h2 checks them too, but one character at a time, and it ends the connection over a malformed one.
Here a malformed request ends only its own stream (RFC 9113, 8.1.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trio_router.server.request_parser import HEAD_LIMIT, RequestHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trio_router.server.link import Headers

    Fields = Iterable[tuple[bytes, bytes]]

_FIELD = 32  # bytes that a header counts beside its name and its value (RFC 9113, 10.5.1)
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z")
_TARGET = re.compile(rb"[!-~]+")
_METHOD = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
_OF_HTTP1 = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)


def request_head(fields: Fields) -> RequestHead | None:
    """The request in `fields`; None if they are malformed."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    for name, value in fields:
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO or _BAD_VALUE.search(value):
                return None
            pseudo[name] = value
        elif _is_field(name, value):
            headers.append((name, value))
        else:
            return None
    target = _target(pseudo)
    if target is None or not _is_host_clear(pseudo, headers):
        return None
    return RequestHead(pseudo[b":method"].decode("ascii"), target, headers, is_old=False)


def are_trailers(fields: Fields) -> bool:
    """Whether `fields` are valid trailers."""
    return all(_is_field(name, value) for name, value in fields)


def is_too_large(fields: Fields) -> bool:
    """Whether a head is larger than the limit that the client was told."""
    return sum(len(name) + len(value) + _FIELD for name, value in fields) > HEAD_LIMIT


def _is_field(name: bytes, value: bytes) -> bool:
    if name in _OF_HTTP1 or (name == b"te" and value.lower() != b"trailers"):
        return False
    return _NAME.fullmatch(name) is not None and _BAD_VALUE.search(value) is None


def _target(pseudo: Mapping[bytes, bytes]) -> bytes | None:
    """The request's target; None if it has none."""
    if not _METHOD.fullmatch(pseudo.get(b":method", b"")):
        return None
    is_connect = pseudo[b":method"] == b"CONNECT"
    if is_connect and b":protocol" not in pseudo:
        # CONNECT names a host and no path.  There are no tunnels here, so it gets a 404 or 405.
        return None if b":path" in pseudo or b":scheme" in pseudo else b"/"
    if not is_connect and b":protocol" in pseudo:
        return None
    target = pseudo.get(b":path", b"")
    return target if pseudo.get(b":scheme") and _TARGET.fullmatch(target) else None


def _is_host_clear(pseudo: Mapping[bytes, bytes], headers: Headers) -> bool:
    """Whether exactly one host is named; then the first of `headers` is the host."""
    hosts = [value for name, value in headers if name == b"host"]
    authority = pseudo.get(b":authority")
    if authority is None:
        return len(hosts) == 1
    if not hosts:
        headers.insert(0, (b"host", authority))
        return True
    return hosts == [authority]
