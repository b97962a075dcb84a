"""HTTP/1.1 as bytes: a request's head, a response's parser.  Sans-IO, over httptools (llhttp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_HEAD = 65536  # bytes; what h11 and most servers allow is less
Header = tuple[bytes, bytes]


class ProtocolError(Exception):
    """The peer does not speak HTTP/1.1, or stopped in the middle of it."""


def request_head(method: bytes, target: bytes, headers: Iterable[Header]) -> bytes:
    """The head of a request.  Raises ValueError for a header with a line end in it."""
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    for name, value in headers:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError(f"the value of header {name.decode('latin-1')} holds a line end")
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


class ResponseParser:
    """One response.  Interim responses (1xx) before it are skipped.

    After `receive_data` look at `has_head`, take what `body` gives, look at `is_complete`.
    """

    def __init__(self, method: bytes) -> None:
        self._has_no_body = method == b"HEAD"
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[Header] = []
        self.has_head = False
        self.has_bytes = False  # anything at all has come
        self.is_complete = False
        self._keep_alive = False
        self._extra = False  # bytes beyond the response's end
        self._until_eof = False
        self._parts: list[bytes] = []
        self._head_size = 0

    @property
    def is_reusable(self) -> bool:
        """The response was whole, both sides keep the connection, and nothing came after it."""
        return self.is_complete and self._keep_alive and not self._extra

    def receive_data(self, data: bytes) -> None:
        """Raises ProtocolError.  What came before the fault can be taken with `body` all the same."""
        self.has_bytes = True
        if self.is_complete:
            self._extra = True
            return
        if not self.has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("the upstream switched protocols") from None
        except httptools.HttpParserError as fault:
            if not self.is_complete:
                raise ProtocolError(f"the upstream's answer is not HTTP: {fault}") from None
            self._extra = True
        if not self.has_head and self._head_size > MAX_HEAD:
            raise ProtocolError(f"the head of the upstream's answer has more than {MAX_HEAD} bytes")

    def receive_eof(self) -> None:
        """The peer has closed.  Raises ProtocolError if the response is not whole."""
        if self.is_complete:
            return
        if not self.has_head:
            raise ProtocolError("the upstream closed the connection without an answer")
        if not self._until_eof:
            raise ProtocolError("the upstream closed the connection before the answer was complete")
        self.is_complete = True

    def body(self) -> bytes:
        """The body bytes that have come and were not taken yet."""
        parts = self._parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return data

    # -- called by httptools

    def on_message_begin(self) -> None:
        if self.is_complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # else it is a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.is_complete:
            return
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            return
        self.has_head = True
        framing = {name.lower() for name, _ in self.headers}
        if self._has_no_body or self.status in (204, 304):
            self._end()
        elif not framing & {b"content-length", b"transfer-encoding"}:
            self._until_eof = True

    def on_body(self, data: bytes) -> None:
        if not self.is_complete:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        if self.is_complete:
            return
        if not self.has_head:  # the end of an interim response
            self.headers.clear()
        elif not self._until_eof:
            self._end()

    def _end(self) -> None:
        self._keep_alive = self._parser.should_keep_alive()
        self.is_complete = True
