"""Bytes in any pieces -> whole lines.

Lines are split as *bytes* and decoded only when whole.  0x0A and 0x0D never occur inside a multi-byte
UTF-8 sequence, so a cut between two reads can tear neither a character nor a line.  `str.splitlines`
must not be used anywhere near a stream: it also splits at U+2028, U+2029 and U+0085, which are legal
inside JSON text.
"""

from __future__ import annotations

import re
from typing import Any

from trio_router.wire.slicing import SLICE, decoded, is_sliced, slices

_ANY_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_REPLACEMENT = "\ufffd".encode()


class LineTooLongError(Exception):
    """A line (or an event made of lines) outgrew the limit.  `limit` is in bytes.

    `before` is what the same read completed before it (lines, records or events).  It is good, and it
    must make no difference whether it came in the same read or an earlier one.
    """

    def __init__(self, limit: int, before: list[Any]) -> None:
        super().__init__(f"more than {limit} bytes without an end")
        self.limit = limit
        self.before = before


class LineBuffer:
    """Collects reads and gives back the lines that they complete, without their ends.

    With `lf_only` a line ends at LF alone (NDJSON); otherwise at LF, CR or CRLF (server-sent events).
    One byte order mark at the very beginning is removed.  A line of more than `limit` bytes raises
    LineTooLongError, so that memory stays bounded whatever the sender does.
    """

    def __init__(self, limit: int, *, lf_only: bool = False) -> None:
        self._limit = limit
        self._lf_only = lf_only
        self._parts: list[bytes] = []  # the unfinished line, as it came: joined once, when it ends
        self._size = 0
        self._skip_lf = False  # the last read ended in CR: an LF that follows belongs to it
        self._head: bytes | None = b""  # possibly the beginning of a byte order mark

    def receive_data(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        if self._head is not None:
            data = self._without_bom(data)
        if self._skip_lf and data:
            self._skip_lf = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data:
            return []
        if self._lf_only or b"\r" not in data:
            lines = data.split(b"\n")
        else:
            self._skip_lf = data[-1] == 0x0D
            lines = _ANY_END.split(data)
        return self._finish(lines)

    def receive_eof(self) -> bytes | None:
        """What was left without a line end, if anything was."""
        if self._head:
            self._parts.append(self._head)
        self._head = None
        rest = b"".join(self._parts)
        self._parts, self._size = [], 0
        return rest or None

    def _finish(self, lines: list[bytes]) -> list[bytes]:
        tail = lines.pop()
        if lines:
            if self._parts:
                self._parts.append(lines[0])
                lines[0] = b"".join(self._parts)
                self._parts, self._size = [], 0
            if max(map(len, lines)) > self._limit:
                fit = next(i for i, line in enumerate(lines) if len(line) > self._limit)
                raise LineTooLongError(self._limit, lines[:fit])
        if tail:
            self._parts.append(tail)
            self._size += len(tail)
            if self._size > self._limit:
                raise LineTooLongError(self._limit, lines)
        return lines

    def _without_bom(self, data: bytes) -> bytes:
        head = (self._head or b"") + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head[len(_BOM) :] if head.startswith(_BOM) else head


def repair_utf8(data: bytes) -> tuple[bytes, int]:
    """`data` as valid UTF-8, and the number of U+FFFD that were inserted.

    One U+FFFD stands for each maximal subpart of an ill-formed sequence, as the WHATWG Encoding
    Standard's decoder has it (Python's "replace" does the same).
    """
    if data.isascii():
        return data, 0
    if len(data) > SLICE and is_sliced():
        return _repaired_in_slices(data)
    try:
        data.decode()
    except UnicodeDecodeError:
        mended = data.decode(errors="replace").encode()
        return mended, mended.count(_REPLACEMENT) - data.count(_REPLACEMENT)
    return data, 0


def _repaired_in_slices(data: bytes) -> tuple[bytes, int]:
    try:
        for _ in decoded(slices(data)):
            pass
    except UnicodeDecodeError:
        mended = [text.encode() for text in decoded(slices(data), "replace")]
        inserted = sum([piece.count(_REPLACEMENT) for piece in mended])
        return b"".join(mended), inserted - data.count(_REPLACEMENT)
    return data, 0
