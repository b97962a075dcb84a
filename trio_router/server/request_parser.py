"""HTTP/1.1 from clients, sans-IO: bytes to requests, answers to bytes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.server.request_body import RequestBody

HEAD_LIMIT = 65536  # bytes of a request's head

_BEHIND_AUTHORITY = re.compile(rb"[/?#]")
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {
    # As RFC 9110 has them, on every Python.
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}


class RequestHead:
    """The head of a request.  Header names are in lower case."""

    __slots__ = ("headers", "is_old", "keep_alive", "method", "query", "raw_path")

    def __init__(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], *, is_old: bool
    ) -> None:
        self.method = method
        self.headers = headers
        self.is_old = is_old  # HTTP/1.0, which has no chunked bodies
        self.keep_alive = False
        if not target.startswith((b"/", b"*")):
            self._put_first(_authority_of(target))
            target = _path_of(target)
        self.raw_path, _, self.query = target.partition(b"?")

    def _put_first(self, authority: bytes) -> None:
        """A host in the target overrides the Host header (RFC 9112, 3.2.2), which is kept too."""
        if authority and authority.lower() != self.header(b"host").lower():
            self.headers = [(b"host", authority), *self.headers]

    @property
    def path(self) -> str:
        raw = self.raw_path.decode("latin-1")
        return unquote(raw) if "%" in raw else raw

    def header(self, name: bytes) -> bytes:
        """The value of the first header of that name; empty if there is none."""
        return next((value for key, value in self.headers if key == name), b"")


class RequestParser:
    """Parses requests from bytes in any pieces.  `begin` gets each head and returns the body to feed.

    If `begin` returns None for a head, everything from this head on is ignored.  Never raises on bad
    input: `fault` is then the status for the client.
    """

    def __init__(self, begin: Callable[[RequestHead], RequestBody | None]) -> None:
        self.fault: int | None = None
        self._begin = begin
        self._body: RequestBody | None = None
        self._method = ""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0  # bytes of the head so far, or of framing since the last piece of the body
        self._is_over = False  # this connection takes no more requests
        # Exists only while a request is being read, because it takes a kilobyte.
        self._parser: httptools.HttpRequestParser | None = None
        self._is_between = False
        self._is_in_head = False
        self._offered: RequestBody | None = None  # the body of a request with an Upgrade header
        self._is_resumed = False
        self._is_last = False
        self._is_new = False  # a head has begun in the last data
        self._has_fed = False  # a piece of a body was in the last data

    @property
    def is_in_head(self) -> bool:
        """Whether a head has begun, and is not whole."""
        return self._is_in_head

    def receive_data(self, data: bytes) -> None:
        if self.fault is not None or self._is_over:
            return
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        was_in_head, self._is_new = self._is_in_head, False
        was_in_body, self._has_fed = self._body, False
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._is_over:
                self._fail(400)
        is_same_head = was_in_head and not self._is_new
        if self._is_in_head and (is_same_head or len(data) > HEAD_LIMIT):
            self._grow(len(data))  # the parser does not report a field before it is complete
        elif was_in_body is not None and was_in_body is self._body and not self._has_fed:
            self._grow(len(data))  # the same is true of trailers
        if self._is_between or self._is_over:
            self.close()

    def close(self) -> None:
        """Breaks the reference cycle between the parser and us."""
        self._parser = None
        self._headers = []

    def end(self) -> None:
        """Nothing more will come: drops `begin`, whose owner holds us."""
        self.close()
        self._begin = _no_body

    def _decline(self, rest: bytes) -> None:
        """Declines an Upgrade: the request is answered over HTTP/1.1.

        The parser assumes that the other protocol follows, but it may be the request's body.
        """
        body = self._offered
        if body is None:
            self._is_over = True
            return
        framing = [f for f in self._headers if f[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join([b"%b: %b\r\n" % field for field in framing])
        self._body, self._offered = body, None
        self._parser = httptools.HttpRequestParser(self)
        self._is_resumed = True
        self.receive_data(b"POST / HTTP/1.1\r\n%b\r\n" % head + rest)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_LIMIT:
            self._fail(431)

    def _fail(self, status: int) -> None:
        if self.fault is None:
            self.fault = status
        if self._body is not None:
            self._body.fail()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._is_between = False
        self._is_in_head = self._is_new = True
        if self._is_resumed:
            return
        self._target = b""
        self._headers = []
        self._size = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._grow(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is None:  # otherwise it is a trailer
            self._grow(len(name) + len(value) + 4)
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_resumed:
            self._is_resumed = False
            return
        parser = self._parser
        assert parser is not None
        version = parser.get_http_version()
        head = RequestHead(
            parser.get_method().decode("ascii"), self._target, self._headers, is_old=version == "1.0"
        )
        if version not in ("1.0", "1.1"):
            self._fail(505)
        else:
            hosts = [name for name, _ in self._headers].count(b"host")
            if hosts > 1 or (not hosts and version == "1.1"):
                self._fail(400)  # RFC 9112, 3.2
        self._size = 0
        if self.fault is None and not self._is_over:
            head.keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
            self._is_last = not head.keep_alive
            self._body = self._begin(head)
            self._is_over = self._body is None

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._has_fed = True
            self._size = 0
            self._body.feed(data)

    def on_message_complete(self) -> None:
        body, self._body = self._body, None
        self._size = 0
        self._is_between = True
        assert self._parser is not None
        if body is not None and self._parser.should_upgrade() and self._has_body():
            self._offered = body  # and not come yet, though the parser says so
            return
        if body is not None:
            body.end()
            self._is_over = self._is_last

    def _has_body(self) -> bool:
        fields = dict(self._headers)
        return fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields


def _no_body(head: RequestHead) -> None:
    """For a parser that is at its end."""


def response_head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The head of an answer.  Raises ValueError for a line end in a header."""
    fields = b"".join([b"%b: %b\r\n" % field for field in headers])
    if not fields.count(b"\n") == fields.count(b"\r") == len(headers):
        raise ValueError("a line end in a header")
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _REASONS.get(status, b""), fields)


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body; empty `data` gives the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _authority_of(target: bytes) -> bytes:
    """The host and port of a target in absolute form; empty if it has another form."""
    return _BEHIND_AUTHORITY.split(target.partition(b"://")[2], maxsplit=1)[0]


def _path_of(target: bytes) -> bytes:
    """The path of a target in absolute form, as proxies send it."""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserError:
        return b"/"
    path = url.path or b"/"
    return path + b"?" + url.query if url.query else path
