"""HTTP/1.1 from clients, sans-IO: bytes to requests, answers to bytes."""

from __future__ import annotations

import re
from enum import Enum
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

    __slots__ = ("headers", "is_old", "keep_alive", "method", "offers_other", "query", "raw_path")

    def __init__(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], *, is_old: bool
    ) -> None:
        self.method = method
        self.headers = headers
        self.is_old = is_old  # HTTP/1.0, which has no chunked bodies
        self.keep_alive = False
        self.offers_other = False  # it has no body, and offers another protocol behind it
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
        """The path, percent-decoded."""
        raw = self.raw_path.decode("latin-1")
        return unquote(raw) if "%" in raw else raw

    def header(self, name: bytes) -> bytes:
        """The value of the first header of that name; empty if there is none."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""


class _Place(Enum):
    """What comes next on the connection."""

    BETWEEN = "between"  # a request, or nothing
    HEAD = "head"  # the rest of a head
    BODY = "body"  # the rest of a body, if there is any
    AGAIN = "again"  # a head of our own making, so that the parser reads the body behind it
    OVER = "over"  # nothing that is taken: the client wants no more requests, or `begin` does not


_HEAD, _BETWEEN, _OVER = _Place.HEAD, _Place.BETWEEN, _Place.OVER


class RequestParser:
    """Parses requests from bytes in any pieces.

    `begin` gets each head and returns the body to feed; once it returns None, the rest is ignored.
    Bad input raises nothing: `fault` is then the status that tells the client what is wrong.
    """

    def __init__(self, begin: Callable[[RequestHead], RequestBody | None]) -> None:
        self.fault: int | None = None
        self._begin = begin
        self._body: RequestBody | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0  # of the head so far, or of what frames a body since the last piece of it
        self._place = _Place.BETWEEN
        self._next = _Place.BETWEEN  # the place behind the request that is being read
        self._has_moved = False  # a head has begun, or a piece of a body come, in what was fed last
        # There while a request is being read: it and its hold on us are a kilobyte.
        self._parser: httptools.HttpRequestParser | None = None
        self._offered: RequestBody | None = None  # of a request that offers another protocol
        self.behind = b""  # what came behind a request that does, and has no body
        self._keeps_behind = False

    @property
    def is_in_head(self) -> bool:
        """Whether a head has begun, and is not whole."""
        return self._place is _HEAD

    @property
    def _is_over(self) -> bool:
        return self._place is _OVER

    def receive_data(self, data: bytes) -> None:
        """Parses `data`: calls `begin` for each head, and feeds the bodies."""
        if self.fault is not None or self._place is _OVER:
            if self._keeps_behind:
                self.behind = (self.behind + data)[:HEAD_LIMIT]
            return
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        was_in_head, was_in_body = self._place is _HEAD, self._body
        self._has_moved = False
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self._is_over:
                self._fail(400)
        is_same_head = was_in_head and not self._has_moved
        if self.is_in_head and (is_same_head or len(data) > HEAD_LIMIT):
            self._grow(len(data))  # the parser keeps a field to itself until it is whole
        elif was_in_body is not None and was_in_body is self._body and not self._has_moved:
            self._grow(len(data))  # the same is true of trailers
        if self._place is _BETWEEN or self._place is _OVER:
            self.close()

    def close(self) -> None:
        """Breaks the reference cycle between the parser and us."""
        self._parser = None
        self._headers = []

    def end(self) -> None:
        """Nothing more will come: drops `begin`, whose owner holds us."""
        self.close()
        self._begin = _no_body

    def take_behind(self) -> bytes:
        """What came behind a request that offers another protocol, which is not parsed here."""
        behind, self.behind, self._keeps_behind = self.behind, b"", False
        return behind

    def _decline(self, rest: bytes) -> None:
        """Declines an Upgrade: the request is answered over HTTP/1.1.

        The parser assumes that the other protocol follows, but it may be the request's body.
        """
        body = self._offered
        if body is None:
            self._place = _Place.OVER
            self.behind, self._keeps_behind = rest[:HEAD_LIMIT], True
            return
        framing = [f for f in self._headers if f[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join([b"%b: %b\r\n" % field for field in framing])
        self._body, self._offered = body, None
        self._parser = httptools.HttpRequestParser(self)
        self._place = _Place.AGAIN
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
        if self._place is not _Place.BETWEEN:
            return
        self._place = _Place.HEAD
        self._has_moved = True
        self._target = b""
        self._headers = []
        self._size = 0

    def on_url(self, piece: bytes) -> None:
        if self._place is _Place.HEAD:
            self._target += piece
            self._grow(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._place is _HEAD:  # else a trailer
            self._size += len(name) + len(value) + 4
            if self._size > HEAD_LIMIT:
                self._fail(431)
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._is_over:
            return
        is_ours, self._place = self._place is _Place.AGAIN, _Place.BODY
        if is_ours:
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
        if self.fault is None:
            offers_other = parser.should_upgrade()
            head.keep_alive = parser.should_keep_alive() and not offers_other
            head.offers_other = offers_other and not self._has_body()
            self._next = _Place.BETWEEN if head.keep_alive else _Place.OVER
            self._body = self._begin(head)
            if self._body is None:
                self._place = _Place.OVER

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._has_moved = True
            self._size = 0
            self._body.feed(data)

    def on_message_complete(self) -> None:
        body, self._body = self._body, None
        self._size = 0
        if self._is_over:
            return
        self._place = _Place.BETWEEN
        assert self._parser is not None
        if body is not None and self._parser.should_upgrade() and self._has_body():
            self._offered = body  # and not come yet, though the parser says so
            return
        if body is not None:
            body.end()
            self._place = self._next

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
