"""HTTP/1.1 towards upstreams, sans-IO: request heads to bytes, bytes to responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httptools
import httpx

from trio_router.transport.faults import BadStatus, MalformedResponse

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_LIMIT = 65536  # bytes of a response's head, and of the framing between two pieces of its body

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-~\x80-\xff]+")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\0\r\n]*\r\n)*")


class OutgoingHead:
    """The head of a request.

    `data` is the head with its blank line.  `length` is the declared content length in bytes,
    None if there is none; `chunked` says that the body is sent in chunks; `keep_alive`
    that the sender wants the connection to stay open.

    `body` is the body if it is known, None if it comes in pieces.  A framing field is added if the
    headers have none.  Raises httpx.LocalProtocolError if the request cannot be sent as HTTP.
    """

    __slots__ = ("chunked", "data", "keep_alive", "length")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
    ) -> None:
        self.chunked = False
        self.keep_alive = True
        self.length: int | None = None
        for name, value in headers:
            self._note(name.lower(), value)
        if self.chunked:
            # RFC 9112, 6.2: never both; otherwise two readers could see two different requests.
            headers = [field for field in headers if field[0].lower() != b"content-length"]
            self.length = None
        elif self.length is None:
            headers = self._framed(headers, body)
        fields = b"".join([b"%b: %b\r\n" % field for field in headers])
        one_line_each = fields.count(b"\n") == len(headers) and _FIELDS.fullmatch(fields)
        if not (one_line_each and _METHOD.fullmatch(method) and _TARGET.fullmatch(target)):
            raise httpx.LocalProtocolError("a character in the request's head is not allowed there")
        self.data = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, fields)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"connection":
            if b"close" in value.lower():
                self.keep_alive = False
        elif name == b"content-length":
            if not value.isdigit() or self.length not in (None, int(value)):
                raise httpx.LocalProtocolError("the request's content-length is not one number")
            self.length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise httpx.LocalProtocolError("the only transfer-encoding to be sent is chunked")
            self.chunked = True

    def _framed(
        self, headers: list[tuple[bytes, bytes]], body: bytes | None
    ) -> list[tuple[bytes, bytes]]:
        if body is None:
            self.chunked = True
            return [*headers, (b"Transfer-Encoding", b"chunked")]
        self.length = len(body)
        return [*headers, (b"Content-Length", b"%d" % len(body))] if body else headers


class HeadTemplate:
    """The heads of POSTs to one target that share `headers`: checked and encoded once.

    Raises httpx.LocalProtocolError if they cannot be sent as HTTP.
    """

    def __init__(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        head = OutgoingHead(b"POST", target, headers, b"")
        if head.length or head.chunked:
            raise httpx.LocalProtocolError("headers that frame the body are set by the transport")
        self._data = head.data[:-2]
        self._keep_alive = head.keep_alive

    def head(self, request_id: bytes, length: int, more: bytes = b"") -> OutgoingHead:
        """The head of one request with a body of `length` bytes.

        `request_id` is sent as x-request-id.  `more` are further field lines, which the caller has
        checked.
        """
        head = OutgoingHead.__new__(OutgoingHead)
        head.chunked = False
        head.keep_alive = self._keep_alive
        head.length = length
        head.data = b"%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n" % (
            self._data,
            request_id,
            more,
            length,
        )
        return head


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body; empty `data` gives the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Stop(Exception):
    """Ends the parsing inside a callback."""


class ResponseParser:
    """Parses one response from bytes in any pieces.

    Never raises on bad input: `fault` then says what is wrong (`error()` as an exception), and what
    was read before it is still returned.  `head_complete` says that `status`, `reason`, `headers`
    and `http_version` are those of the final response (informational ones are skipped), `done` that
    the body has ended, `keep_alive` that another request may follow on the connection, `touched`
    that any byte came, `excess` that bytes came after the end.  A `bodyless` response (to HEAD or
    CONNECT) ends with its head.
    """

    def __init__(self, *, bodyless: bool = False, limit: int = HEAD_LIMIT) -> None:
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.http_version = b"HTTP/1.1"
        self.head_complete = False
        self.done = False
        self.touched = False
        self.excess = False
        self.fault: str | None = None
        self._kind: type[httpx.RemoteProtocolError] = MalformedResponse  # of the fault
        self._bodyless = bodyless
        self._limit = limit
        self._size = 0  # of the header fields so far
        self._unyielding = 0  # bytes since the last head or piece of body was complete
        self._until_eof = False
        self._allows_reuse = False
        self._parts: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._parts.append
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def error(self) -> httpx.RemoteProtocolError:
        """`fault`, to be raised."""
        return self._kind(self.fault or "")

    @property
    def keep_alive(self) -> bool:
        return self.done and self._allows_reuse and not self.excess and self.fault is None

    @property
    def final_and_closing(self) -> bool:
        """The final head has come, and its sender wants no more of the request."""
        return self.head_complete and (self.status >= 300 or not self._allows_reuse)

    def receive_data(self, data: bytes) -> bytes:
        """The body bytes in `data`, joined."""
        self.touched = True
        parser = self._parser
        if parser is None:
            self.excess = True
            return b""
        had_head = self.head_complete
        self._feed(parser, data)
        if self._bodyless and self.done:
            self._end_bodyless(data)
        parts = self._parts
        body = b""
        if parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
        if body or had_head != self.head_complete:
            self._unyielding = 0
        else:
            self._count_unyielding(len(data))
        if self.done or self.fault is not None:
            self._parser = None  # it refers to us; this breaks the cycle
        return body

    def receive_eof(self) -> None:
        """The connection has ended: that ends the body, or is a fault."""
        self._parser = None
        self._allows_reuse = False
        if self.done:
            return
        if self._until_eof and self.fault is None:
            self.done = True
            return
        if self.head_complete:
            where = "before the end of the body"
        else:
            where = "within the head of the response" if self.touched else "without a response"
        self._fail(f"the connection was closed {where}", httpx.RemoteProtocolError)

    def close(self) -> None:
        """Stops parsing.  Breaks the reference cycle between the parser and us."""
        self._parser = None

    def _feed(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.done:
                self.excess = True
            else:
                is_status = isinstance(error, httptools.HttpParserInvalidStatusError)
                kind = BadStatus if is_status else MalformedResponse
                self._fail(f"malformed {self._place()}: {error}", kind)

    def _count_unyielding(self, size: int) -> None:
        self._unyielding += size
        if self._unyielding > self._limit and not self.done:
            self._fail(f"more than {self._limit} bytes of {self._place()}")

    def _end_bodyless(self, data: bytes) -> None:
        # The parser does not know the request's method and would take what follows for a body.
        if self._parts or not data.endswith(b"\r\n\r\n"):
            self.excess = True
            self._parts.clear()

    def _fail(self, message: str, kind: type[httpx.RemoteProtocolError] = MalformedResponse) -> None:
        if self.fault is None:
            self.fault, self._kind = message, kind

    def _place(self) -> str:
        return "body framing" if self.head_complete else "response head"

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self.done:
            self.excess = True
            raise _Stop

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_complete:
            return  # a trailer
        self._size += len(name) + len(value) + 4
        if self._size > self._limit:
            self._fail(f"more than {self._limit} bytes of response head")
            raise _Stop
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        self.status = parser.get_status_code()
        version = parser.get_http_version()
        known = 100 <= self.status <= 599 and self.status != 101
        if version not in ("1.0", "1.1") or not known:
            # A switch of protocols that nobody asked for is no status, and no HTTP from then on.
            kind = MalformedResponse if known or self.status == 101 else BadStatus
            self._fail(f"unexpected status {self.status} in HTTP/{version}", kind)
            raise _Stop
        if self.status < 200:
            self.headers.clear()
            self.reason = b""
            return
        self.http_version = b"HTTP/" + version.encode()
        self._frame()
        self.head_complete = True
        if self._bodyless:
            self.done = True

    def on_message_complete(self) -> None:
        if self.head_complete:
            self.done = True

    def _frame(self) -> None:
        keep_alive = self.http_version == b"HTTP/1.1"
        close = length = False
        chunked: bool | None = None
        for name, value in self.headers:
            match name.lower():
                case b"content-length":
                    length = True
                case b"transfer-encoding":
                    chunked = value.lower().endswith(b"chunked")
                case b"connection":
                    tokens = {token.strip() for token in value.lower().split(b",")}
                    keep_alive = keep_alive or b"keep-alive" in tokens
                    close = close or b"close" in tokens
        framed = length if chunked is None else chunked
        self._until_eof = not (framed or self._bodyless or self.status in (204, 304))
        self._allows_reuse = keep_alive and not close and not self._until_eof
