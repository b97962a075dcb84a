"""multipart/form-data in any pieces (RFC 7578, RFC 2046): passed on, one field's value rewritten.

Everything else stays byte for byte, and data is passed on as soon as it cannot be part of a boundary.
(Existing parsers return parts; joining these would give a different body.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.wire.parameters import parameters

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = 16384  # bytes of a part's head
_VALUE = 1024  # bytes of the field's value
_BOUNDARY = 200  # characters; the RFC has 70
_PARTS = 1000  # of a form; an API's has a dozen fields and at most some dozens of files


class MultipartError(ValueError):
    """The body is not what its content type says.  `field`: the field that is wrong, if it is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a body of this content type; None if it is no multipart/form-data."""
    kind, given = parameters(content_type)
    boundary = given.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= _BOUNDARY:
        return None
    return boundary.encode() if boundary.isascii() and boundary.isprintable() else None


class FieldRewriter:
    """Passes a body on, with another value of `field`.

    `rewrite` is called with the complete value and returns the new one; `receive_data` raises what it
    raises.  `growth` is the number of bytes by which the body has become longer.  `is_found` says that
    the field has begun, `is_rewritten` that its value was replaced.  Raises MultipartError.
    """

    def __init__(self, boundary: bytes, field: str, rewrite: Callable[[str], str]) -> None:
        self.is_found = False
        self.is_rewritten = False
        self.growth = 0
        self._field = field
        self._rewrite = rewrite
        self._delimiter = b"\r\n--" + boundary
        # A boundary at the very beginning needs no line end before it.
        self._rest = b"\r\n"
        self._at = 0  # the offset in `_rest` of what is not processed yet
        self._parts = 0
        self._unsent = 2  # bytes at the beginning of `_rest` that nobody sent
        self._step = FieldRewriter._in_data  # not a bound method, which would make a reference cycle
        self._is_in_field = False
        self._is_at_end = False

    def receive_data(self, data: bytes) -> bytes:
        """The bytes that can be passed on now."""
        self._rest += data
        out = []
        while (piece := self._step(self)) is not None:
            out.append(piece)
        # Cut once for all steps: a cut in each step would copy a read once for each of its parts.
        self._rest, self._at = self._rest[self._at :], 0
        sent = b"".join(out)
        ours = min(self._unsent, len(sent))
        self._unsent -= ours
        return sent[ours:]

    def receive_eof(self) -> None:
        """Nothing more will come."""
        if not self._is_at_end:
            raise MultipartError("the body ends before its last boundary")

    # Each step returns what it has processed, perhaps nothing; None if it needs more data.

    def _in_data(self) -> bytes | None:
        """Before the first boundary, or in a part."""
        end = self._rest.find(self._delimiter, self._at)
        if end < 0:
            if self._is_in_field:
                self._check_size(_VALUE + len(self._delimiter), f"{self._field} is too long")
                return None
            # The end may be the beginning of a delimiter.
            return self._take_to(max(self._at, len(self._rest) - len(self._delimiter) + 1)) or None
        self._step = FieldRewriter._after_delimiter
        if not self._is_in_field:
            return self._take_to(end + len(self._delimiter))
        self._is_in_field = False
        value = self._rewritten(self._take_to(end))
        return value + self._take_to(end + len(self._delimiter))

    def _after_delimiter(self) -> bytes | None:
        if self._rest.startswith(b"--", self._at):
            self._is_at_end = True
            self._step = FieldRewriter._after_end
            return b""
        end = self._rest.find(b"\r\n", self._at)
        if end < 0:
            self._check_size(_HEAD, "a boundary is not followed by a line end")
            return None
        if self._rest[self._at : end].strip(b" \t"):
            raise MultipartError("a boundary is not followed by a line end")
        self._parts += 1
        if self._parts > _PARTS:
            raise MultipartError(f"it has more than {_PARTS} parts")
        self._step = FieldRewriter._in_head
        return self._take_to(end)  # a part without a head has this line's end as its own

    def _in_head(self) -> bytes | None:
        end = self._rest.find(b"\r\n\r\n", self._at)
        if end < 0:
            self._check_size(_HEAD, "a part's head is too long")
            return None
        if end + 4 - self._at > _HEAD:
            raise MultipartError("a part's head is too long")
        head = self._take_to(end + 4)
        if self._is_field(head):
            if self.is_found:
                raise MultipartError(f"{self._field} is given twice", self._field)
            self._is_in_field = self.is_found = True
        # What follows may be a delimiter at once: its line end is the head's own.
        self._step = FieldRewriter._in_data
        return head

    def _after_end(self) -> bytes | None:
        return self._take_to(len(self._rest)) or None

    def _is_field(self, head: bytes) -> bool:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-disposition":
                _, given = parameters(value.decode("latin-1"))
                return given.get("name") == self._field and "filename" not in given
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

    def _take_to(self, end: int) -> bytes:
        taken = self._rest[self._at : end]
        self._at = end
        return taken

    def _check_size(self, limit: int, complaint: str) -> None:
        if len(self._rest) - self._at > limit:
            raise MultipartError(complaint)
