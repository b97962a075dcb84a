"""Detects the format of an answer: server-sent events, NDJSON, a JSON array of records, one JSON value
or AWS's binary event stream.

The first byte that is not white space decides.  A NUL, with a right checksum behind it or the content
type before it, begins an event stream.  JSON starts with `{`, an array with `[`; everything
else counts as server-sent events, whose decoder ignores what it does not know, except for markup.
"""

from __future__ import annotations

from trio_router.wire.eventstream import CONTENT_TYPE, EventRecords, begins_message
from trio_router.wire.json_array import JSONArrayDecoder
from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.lines import LineTooLongError
from trio_router.wire.ndjson import NDJSONDecoder
from trio_router.wire.sse import ServerSentEvent, SSEDecoder

_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_TRIES = 16  # lines at which a value of many lines is checked for its end; each check parses all of it


class NotAStreamError(Exception):
    """The body is in no format of a model's answer.  `start` is its beginning."""

    def __init__(self, start: bytes) -> None:
        super().__init__("neither server-sent events nor JSON")
        self.start = start


class FormatReader:
    """Turns bytes in any pieces into records of any format: `ServerSentEvent`s, unnamed for JSON.

    `format` is None until it is known, then "sse", "ndjson", "json-array", "json" or "eventstream".  A
    record of more than `limit` bytes raises LineTooLongError; a body that is none of these raises
    NotAStreamError; an event stream that was changed on its way raises EventStreamError.
    """

    def __init__(self, content_type: str, limit: int) -> None:
        self._content_type = content_type.partition(";")[0].strip().lower()
        self._limit = limit
        self._decoder: SSEDecoder | _ArrayRecords | _JSONRecords | EventRecords | None = None
        self._head = b""
        self.is_alive = False  # a byte of any kind has come

    @property
    def format(self) -> str | None:
        if isinstance(self._decoder, SSEDecoder):
            return "sse"
        if isinstance(self._decoder, _ArrayRecords):
            return "json-array"
        if isinstance(self._decoder, _JSONRecords):
            single = self._decoder.records < 2 and "ndjson" not in self._content_type
            return "json" if single else "ndjson"
        return None if self._decoder is None else "eventstream"

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """The records that `data` completes."""
        if self._decoder is None:
            self._head += data
            if not self._detect():
                return []
            data, self._head = self._head, b""
        assert self._decoder is not None
        return self._decoder.receive_data(data)

    def receive_eof(self) -> list[ServerSentEvent]:
        """The records that the end of the body completes."""
        if self._decoder is None:
            return []
        return self._decoder.receive_eof()

    def _detect(self) -> bool:
        head = self._head
        if head.startswith(b"\0"):
            is_told = self._content_type == CONTENT_TYPE
            begins = True if is_told else begins_message(head)
            if begins is not False:
                self._decoder = None if begins is None else EventRecords(self._limit)
                return begins is not None
        if len(head) < len(_BOM) and _BOM.startswith(head):
            return False
        rest = head.removeprefix(_BOM)
        start = rest.lstrip(_SPACE)
        if not start:
            # Blank lines before the answer only keep the connection alive; drop them.
            self._head = rest[-1:] or head
            return False
        if start[0] in b"{[":
            self._head = start
            kind = _ArrayRecords if start[0] == 0x5B else _JSONRecords
            self._decoder = kind(self._limit)
        elif start[0] == 0x3C and self._content_type != "text/event-stream":
            raise NotAStreamError(start[:200])
        else:
            self._decoder = SSEDecoder(self._limit)
        return True


class _ArrayRecords:
    """The elements of an array, as records."""

    def __init__(self, limit: int) -> None:
        self._elements = JSONArrayDecoder(limit)

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        try:
            return [ServerSentEvent(element) for element in self._elements.receive_data(data)]
        except LineTooLongError as fault:
            before = [ServerSentEvent(element) for element in fault.before]
            raise LineTooLongError(fault.limit, before) from None

    def receive_eof(self) -> list[ServerSentEvent]:
        return [ServerSentEvent(element) for element in self._elements.receive_eof()]


class _JSONRecords:
    """NDJSON; or one JSON value, which may run over many lines."""

    def __init__(self, limit: int) -> None:
        self._lines = NDJSONDecoder(limit)
        self._limit = limit
        self._open: list[bytes] = []  # lines of a value that is not whole yet
        self._size = 0
        self._tries = 0
        self.records = 0

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        try:
            lines = self._lines.receive_data(data)
        except LineTooLongError as fault:
            raise LineTooLongError(self._limit, self._take(fault.before)) from None
        return self._take(lines)

    def receive_eof(self) -> list[ServerSentEvent]:
        return self._take(self._lines.receive_eof()) + self._flush()

    def _take(self, lines: list[bytes]) -> list[ServerSentEvent]:
        records: list[ServerSentEvent] = []
        for line in lines:
            records += self._line(line)
            if self._size > self._limit:
                raise LineTooLongError(self._limit, records)
        return records

    def _line(self, line: bytes) -> list[ServerSentEvent]:
        if not self._open:
            # Only a first line that opens a value and does not close it can begin a value of many
            # lines; all else is a record, good or bad, and is judged as such.
            if self.records or not _is_beginning(line):
                return [self._record(line)]
        elif line.startswith(b"{"):
            # Printed JSON indents what is inside: a new object at the margin is a new record, and
            # what stood before it was a broken one.
            return [*self._flush(), self._record(line)]
        self._open.append(line)
        self._size += len(line) + 1
        # Printed JSON has one such line.  Where there are many, the next object or the end ends it.
        if line[:1] in (b"}", b"]") and self._tries < _TRIES:
            self._tries += 1
            if not _is_beginning(b"\n".join(self._open)):
                return self._flush()
        return []

    def _flush(self) -> list[ServerSentEvent]:
        if not self._open:
            return []
        whole = b"\n".join(self._open)
        self._open, self._size, self._tries = [], 0, 0
        return [self._record(whole)]

    def _record(self, data: bytes) -> ServerSentEvent:
        self.records += 1
        return ServerSentEvent(data)


def _is_beginning(data: bytes) -> bool:
    try:
        loads(data)
    except JSONError as fault:
        return fault.truncated
    return False
