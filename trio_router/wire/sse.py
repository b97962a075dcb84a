"""Server-sent events, as the WHATWG HTML standard (section 9.2) defines them.

Two rules are ours.  What is left in the buffer when the stream ends is an event too (`receive_eof`):
the standard drops a block that no blank line closed; several providers end their last event so.  And an
error that stands among the events as bare JSON, as Google's servers say it when a stream breaks, is an
event: the standard ignores its lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.lines import LineBuffer, LineTooLongError


@dataclass(slots=True)
class ServerSentEvent:
    """One dispatched event.

    `data` holds the bytes as they came, several `data:` lines joined with LF; they are UTF-8 only if
    the sender was honest.  `id` is the last event id at dispatch, `own_id` whether this block set it;
    `retry` is in milliseconds, None if this block did not set it.
    """

    data: bytes
    event: bytes = b"message"
    id: bytes = b""
    own_id: bool = False
    retry: int | None = None


class SSEDecoder:
    """Bytes in any pieces -> events.  Comments are dropped, unknown fields ignored.

    An event of more than `limit` bytes raises LineTooLongError.
    """

    def __init__(self, limit: int) -> None:
        self._lines = LineBuffer(limit)
        self._limit = limit
        self.last_id = b""
        self.retry: int | None = None  # ms, the last one seen
        self.comments = 0
        self._data: list[bytes] = []
        self._bare: list[bytes] = []  # lines that are no fields, from one on that opens an object
        self._size = 0
        self._event = b""
        self._own_id = False
        self._retry: int | None = None

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes."""
        try:
            lines = self._lines.receive_data(data)
        except LineTooLongError as fault:
            raise LineTooLongError(self._limit, self._take(fault.before)) from None
        return self._take(lines)

    def receive_eof(self) -> list[ServerSentEvent]:
        """The event that the end of the stream completes, if there is one."""
        rest = self._lines.receive_eof()
        lines = [] if rest is None else [rest]
        return self._take([*lines, b""])

    def _take(self, lines: list[bytes]) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._dispatch())
                if self._bare:
                    events += self._bare_error()
                self._clear()
            elif line.startswith(b"data: "):
                self._add(line[6:])
            else:
                self._field(line)
            # The sum matters too: a thousand lines of the allowed length are no event to want.
            if self._size > self._limit + 1:
                raise LineTooLongError(self._limit, events)
        return events

    def _add(self, data: bytes) -> None:
        self._data.append(data)
        self._size += len(data) + 1

    def _field(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        match name:
            case b"":
                self.comments += bool(colon)
            case b"data":
                self._add(value)
            case b"event":
                self._event = value
            case b"id" if b"\0" not in value:
                self.last_id, self._own_id = value, True
            case b"retry" if value.isdigit():
                # Bounded: int() of a megabyte of digits would be refused, and nobody waits that long.
                self.retry = self._retry = int(value[:12])
            case _ if self._bare or line.startswith(b"{"):
                self._bare.append(line)
                self._size += len(line) + 1

    def _dispatch(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        return ServerSentEvent(data, self._event or b"message", self.last_id, self._own_id, self._retry)

    def _bare_error(self) -> list[ServerSentEvent]:
        whole = b"\n".join(self._bare)
        try:
            value = loads(whole)
        except JSONError:
            return []
        is_error = isinstance(value, dict) and bool(value.get("error"))
        return [ServerSentEvent(whole)] if is_error else []

    def _clear(self) -> None:
        self._data.clear()
        self._bare.clear()
        self._size = 0
        self._event = b""
        self._own_id = False
        self._retry = None


def encode_data(data: bytes) -> bytes:
    """The frame of a plain event whose data has no line end in it."""
    return b"data: %b\n\n" % data


def encode_event(event: ServerSentEvent) -> bytes:
    """The frame of any event: decoding it gives the same event again."""
    parts = []
    if event.event != b"message":
        parts.append(b"event: %b\n" % event.event)
    if event.own_id:
        parts.append(b"id: %b\n" % event.id)
    if event.retry is not None:
        parts.append(b"retry: %d\n" % event.retry)
    # A CR can only be here if the event was a JSON record: it is white space there, as LF is.
    text = event.data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    parts += [b"data: %b\n" % line for line in text.split(b"\n")]
    parts.append(b"\n")
    return b"".join(parts)
