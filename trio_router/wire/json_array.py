"""A JSON array that comes in pieces: each of its elements is a record.

Google's `streamGenerateContent` answers like this without `alt=sse`: `[{...},\\n{...}]`.
"""

from __future__ import annotations

import re

from trio_router.wire.lines import LineTooLongError

_STRUCTURE = re.compile(rb'[\[\]{}",]')
_SPACE = b" \t\r\n"
_IN_STRING = re.compile(rb'["\\]')


class JSONArrayDecoder:
    """Bytes in any pieces -> the elements, as bytes.

    It looks only at brackets, commas and strings; whoever reads an element checks its JSON.  Text
    outside of the array is a record too, unless it is white space.  An element of more than `limit`
    bytes raises LineTooLongError.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # the unfinished element, in pieces
        self._size = 0
        self._depth = 0  # open brackets; 1 within the array but outside of an element
        self._in_string = False
        self._is_escaped = False  # the last read ended in a backslash, which escapes the next byte

    def receive_data(self, data: bytes) -> list[bytes]:
        """The elements that `data` completes."""
        records: list[bytes] = []
        begin = 0  # of the element's part in `data`
        at = 1 if self._is_escaped and data else 0
        if at:
            self._is_escaped = False
        while found := (_IN_STRING if self._in_string else _STRUCTURE).search(data, at):
            at = found.end()
            if self._in_string:
                at = self._string(found[0], at, len(data))
            elif self._is_border(found[0]):
                self._end(data[begin : found.start()], records)
                begin = at
        self._add(data[begin:], records)
        return records

    def receive_eof(self) -> list[bytes]:
        """The rest: an element that was not followed by the array's end."""
        records: list[bytes] = []
        self._end(b"", records)
        return records

    def _string(self, found: bytes, at: int, size: int) -> int:
        """Where to go on after a quote or a backslash within a string."""
        if found == b'"':
            self._in_string = False
        elif at == size:
            self._is_escaped = True
        else:
            at += 1
        return at

    def _is_border(self, found: bytes) -> bool:
        """Whether an element ends here, or the array begins or ends."""
        match found:
            case b'"':
                self._in_string = True
            case b"[" if self._depth == 0:
                self._depth = 1
                return True
            case b"[" | b"{":
                self._depth += 1
            case b"]" if self._depth == 1:
                self._depth = 0
                return True
            case b"]" | b"}":
                # At 0 or 1 it closes nothing: it is part of a record that is broken anyway.
                self._depth -= self._depth > 1
            case b",":
                return self._depth == 1
        return False

    def _end(self, part: bytes, records: list[bytes]) -> None:
        self._add(part, records)
        record = b"".join(self._parts).rstrip(_SPACE)
        self._parts, self._size = [], 0
        if record:
            records.append(record)

    def _add(self, part: bytes, records: list[bytes]) -> None:
        if not self._parts:
            part = part.lstrip(_SPACE)
        if not part:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            raise LineTooLongError(self._limit, records)
