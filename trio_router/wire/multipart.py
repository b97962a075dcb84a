"""multipart/form-data in any pieces (RFC 7578, RFC 2046): passed on, one field's value rewritten.

Everything else stays byte for byte, and what comes in goes out as soon as it cannot be part of a
boundary.  (Parsers that can be had give parts; put together again, they would be another body.)
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = 16384  # bytes of a part's head
_VALUE = 1024  # bytes of the field's value
_BOUNDARY = 200  # characters; the RFC has 70


class MultipartError(ValueError):
    """The body is not what its content type says.  `field`: the field that is wrong, if it is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a body of this content type; None if it is no multipart/form-data."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_boundary() or ""
    is_sane = boundary.isascii() and boundary.isprintable() and len(boundary) <= _BOUNDARY
    return boundary.encode() if boundary and is_sane else None


class FieldRewriter:
    """Bytes of a body in, bytes of the same body with another value of `field` out.

    `rewrite` is called with the value, as soon as it is whole, and gives the one that goes out; what it
    raises comes out of `receive_data`.  `growth` is by how many bytes the body has become longer.
    `is_found` says that the field has been there, `is_rewritten` that its value has.  Raises
    MultipartError.
    """

    def __init__(self, boundary: bytes, field: str, rewrite: Callable[[str], str]) -> None:
        self.is_found = False
        self.is_rewritten = False
        self.growth = 0
        self._field = field
        self._rewrite = rewrite
        self._delimiter = b"\r\n--" + boundary
        # A body begins as if a line had ended before it.
        self._rest = b"\r\n"
        self._unsent = 2  # bytes at the beginning of `_rest` that nobody sent
        self._step = FieldRewriter._in_data  # no method bound to us: that would be a cycle
        self._is_in_field = False
        self._is_at_end = False

    def receive_data(self, data: bytes) -> bytes:
        """What can go out by now."""
        self._rest += data
        out = []
        while (piece := self._step(self)) is not None:
            out.append(piece)
        sent = b"".join(out)
        ours = min(self._unsent, len(sent))
        self._unsent -= ours
        return sent[ours:]

    def receive_eof(self) -> None:
        """Nothing more will come."""
        if not self._is_at_end:
            raise MultipartError("the body ends before its last boundary")

    # Each step gives what it is done with, perhaps nothing; None if it needs more.

    def _in_data(self) -> bytes | None:
        """Before the first boundary, or in a part."""
        end = self._rest.find(self._delimiter)
        if end < 0:
            if self._is_in_field:
                self._check_size(_VALUE + len(self._delimiter), f"{self._field} is too long")
                return None
            # The end may be the beginning of a delimiter.
            return self._take(max(0, len(self._rest) - len(self._delimiter) + 1)) or None
        self._step = FieldRewriter._after_delimiter
        if not self._is_in_field:
            return self._take(end + len(self._delimiter))
        self._is_in_field = False
        value = self._rewritten(self._take(end))
        return value + self._take(len(self._delimiter))

    def _after_delimiter(self) -> bytes | None:
        if self._rest.startswith(b"--"):
            self._is_at_end = True
            self._step = FieldRewriter._after_end
            return b""
        end = self._rest.find(b"\r\n")
        if end < 0:
            self._check_size(_HEAD, "a boundary is not followed by a line end")
            return None
        if self._rest[:end].strip(b" \t"):
            raise MultipartError("a boundary is not followed by a line end")
        self._step = FieldRewriter._in_head
        return self._take(end)  # a part without a head has this line's end as its own

    def _in_head(self) -> bytes | None:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            self._check_size(_HEAD, "a part's head is too long")
            return None
        head = self._take(end + 4)
        if self._is_field(head):
            if self.is_found:
                raise MultipartError(f"{self._field} is given twice", self._field)
            self._is_in_field = self.is_found = True
        # What follows may be a delimiter at once: its line end is the head's own.
        self._step = FieldRewriter._in_data
        return head

    def _after_end(self) -> bytes | None:
        return self._take(len(self._rest)) or None

    def _is_field(self, head: bytes) -> bool:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-disposition":
                message = Message()
                message["content-disposition"] = value.decode("latin-1").strip()
                given = message.get_param("name", header="content-disposition")
                is_file = message.get_param("filename", header="content-disposition") is not None
                return given == self._field and not is_file
        return False

    def _rewritten(self, value: bytes) -> bytes:
        if len(value) > _VALUE:
            raise MultipartError(f"{self._field} is too long", self._field)
        self.is_rewritten = True
        try:
            made = self._rewrite(value.decode()).encode()
        except UnicodeDecodeError:
            raise MultipartError(f"{self._field} is not UTF-8", self._field) from None
        self.growth = len(made) - len(value)
        return made

    def _take(self, size: int) -> bytes:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _check_size(self, limit: int, complaint: str) -> None:
        if len(self._rest) > limit:
            raise MultipartError(complaint)
