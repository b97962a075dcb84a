"""HTTP/2 from clients, sans-IO: bytes to events, answers to bytes within the windows.

`h2` does the protocol.  This file decides what h2 leaves to its user: how much of an answer may go out,
how much of a body may come in, and how much a client may do that costs us more than it.

A body is held back by its stream's window alone.  The connection's window is given back at once, so
that a body nobody reads does not block the other streams.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from trio_router.server.request_parser import HEAD_LIMIT

if TYPE_CHECKING:
    from h2.events import Event

    from trio_router.server.link import Headers

PREFACE = b"PRI * HTTP/2.0\r\n"
MAX_STREAMS = 100  # that a client may have open
AT_ONCE = 65536  # bytes of one answer that are sent before other streams get their turn

_FRAME = 16384  # bytes of data in a frame, though a client may allow more
_WINDOW = 65535  # bytes of a body that a client may send before an endpoint asks for it
_CONNECTION_WINDOW = 1 << 20  # bytes
MORE = (1 << 18) - _WINDOW  # bytes more that may be on their way once an endpoint asks
STEP = _WINDOW // 2  # bytes taken before the window is given back to the client
_DECODED = 4 * HEAD_LIMIT  # bytes of a head beyond which the connection ends without an answer
_TABLE = 4096  # bytes of the header table of answers, even if a client allows more

# Limits of frames that cost us more than the client: burst, and rate a second (nghttp2's values).
_RESETS = 1000, 33
_NOISE = 10_000, 330
# How many small frames of a client one request, and one frame of an answer, account for.
_BY_REQUEST = 4
_BY_FRAME = 2

# `http2_head` checks requests' headers, and `send_head` those of answers.
_CONFIGURATION = H2Configuration(
    client_side=False,
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_HEADER = struct.Struct(">HBBBL")  # length in two parts, type, flags, stream (RFC 9113, 4.1)
_DATA, _END = 0, 1
_RESET_SIZE = 13  # bytes
_GOAWAY = struct.Struct(">HBBBLLL")
_GOAWAY_TYPE, _GOAWAY_SIZE = 7, 8
_NOISY = (
    WindowUpdated,
    PingReceived,
    PingAckReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    SettingsAcknowledged,
    UnknownFrameReceived,
)


class Allowance:
    """A token bucket: `burst` at once, then `rate` a second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._at: float | None = None

    def take(self, now: float, count: int = 1) -> bool:
        """Returns whether `count` more are allowed, and counts them if so."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= count
        return self._left >= 0


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = 1000  # remembered streams; h2's own 65,536 would take megabytes


class Http2Protocol:
    """The server's side of a connection.

    Once `is_broken`, only what `data_to_send` still returns can be sent.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self._resets = Allowance(*_RESETS)
        self._noise = Allowance(*_NOISE)
        self._explained = 0  # small frames that requests and answers account for
        self._answered = 0  # streams
        self._owed = 0  # bytes of the connection's window to be given back
        self._parts: list[bytes | memoryview] = []  # what is to be sent before what h2 has to send
        self._h2 = _Connection(_CONFIGURATION)
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_LIMIT,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
            },
        )
        # A head that is too large is still decoded, so that only its own stream is refused.
        self._h2.decoder.max_header_list_size = _DECODED
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - _WINDOW)

    # -- what comes in

    def receive_data(self, data: bytes | memoryview, now: float) -> list[Event]:
        """The client's events; `now` is in seconds.  None once the connection is broken."""
        if self.is_broken:
            return []
        self._gather()
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self.is_broken = True
            return []
        # h2 answers frames for closed streams by itself, without an event.
        replies = self._gather() // _RESET_SIZE
        is_borne = not replies or self._noise.take(now, replies)
        if is_borne and all(self._is_borne(event, now) for event in events):
            return events
        self.goodbye(ErrorCodes.ENHANCE_YOUR_CALM)
        self.is_broken = True
        return []

    def _is_borne(self, event: Event, now: float) -> bool:
        if isinstance(event, DataReceived):
            return bool(event.data) or event.stream_ended is not None or self._may_be_noisy(now)
        if isinstance(event, RequestReceived):
            self._explained += _BY_REQUEST
        elif isinstance(event, StreamReset):
            if not self._answered:
                return self._resets.take(now)
            self._answered -= 1
        elif isinstance(event, ConnectionTerminated):
            if event.error_code == ErrorCodes.NO_ERROR:
                # The client sends no more requests, but wants its answers; h2 would send none.
                self._h2.state_machine.state = ConnectionState.SERVER_OPEN
        elif isinstance(event, _NOISY):
            if isinstance(event, RemoteSettingsChanged):
                encoder = self._h2.encoder
                if encoder.header_table_size > _TABLE:  # it is searched for each header
                    encoder.header_table_size = _TABLE
            return self._may_be_noisy(now)
        return True

    def _may_be_noisy(self, now: float) -> bool:
        if self._explained:
            self._explained -= 1
            return True
        return self._noise.take(now)

    def took(self, size: int) -> None:
        """`size` bytes have come on a stream: gives them back to the connection's window."""
        self._owed += size
        if self._owed >= STEP and not self.is_broken:
            self._h2.increment_flow_control_window(self._owed)
            self._owed = 0

    def give_back(self, number: int, size: int) -> None:
        """Gives `size` bytes back to the stream's window, if the client is still sending."""
        stream = self._h2.streams.get(number)
        if stream is not None and stream.open and not self.is_broken:
            self._h2.increment_flow_control_window(size, number)

    # -- what goes out

    def room(self, number: int) -> int:
        """Bytes that the client takes on that stream now; it may be negative."""
        stream = self._h2.streams.get(number)
        if stream is None or self.is_broken:
            return 0
        return min(stream.outbound_flow_control_window, self._h2.outbound_flow_control_window)

    def is_held_back(self, number: int) -> bool:
        """Whether the stream's own window is used up."""
        stream = self._h2.streams.get(number)
        return stream is None or stream.outbound_flow_control_window <= 0

    def send_head(self, number: int, status: int, headers: Headers, *, is_end: bool = False) -> None:
        """Raises ValueError for a line end in a header, which could split a head in HTTP/1.1."""
        values = b"".join([value for _, value in headers])
        if b"\n" in values or b"\r" in values or b"\0" in values:
            raise ValueError("a line end in a header")
        fields = [(b":status", b"%d" % status), *headers]
        self._h2.send_headers(number, fields, end_stream=is_end)
        if is_end:
            self._answered += 1

    def send_data(self, number: int, data: bytes | memoryview, *, is_end: bool = False) -> None:
        """Sends `data` as frames.  There must be room for all of it.

        h2 would make an object for each frame and copy the data three times.  A frame of an answer only
        changes two windows, and the stream's state at its end.
        """
        size = len(data)
        if not size:
            self._h2.end_stream(number)
            self._answered += 1
            return
        stream = self._h2.streams[number]
        stream.outbound_flow_control_window -= size
        self._h2.outbound_flow_control_window -= size
        self._gather()
        for start in range(0, size, _FRAME):
            piece = data[start : start + _FRAME]
            flags = _END if is_end and start + _FRAME >= size else 0
            length = len(piece)
            self._parts += (_HEADER.pack(length >> 8, length & 0xFF, _DATA, flags, number), piece)
            self._explained += _BY_FRAME
        if is_end:
            stream.end_stream()
            self._answered += 1

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Resets the stream, unless it has ended."""
        stream = self._h2.streams.get(number)
        if stream is not None and stream.open and not self.is_broken:
            self._h2.reset_stream(number, code)

    def goodbye(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Sends GOAWAY, but lets open streams finish; h2's own would end them."""
        self._gather()
        last = self._h2.highest_inbound_stream_id
        self._parts.append(_GOAWAY.pack(0, _GOAWAY_SIZE, _GOAWAY_TYPE, 0, 0, last, code))

    def data_to_send(self) -> bytes:
        """The bytes to send now; they are returned once."""
        self._gather()
        data = b"".join(self._parts)
        self._parts.clear()
        return data

    def _gather(self) -> int:
        """Takes what h2 has to send.  Returns the number of bytes."""
        if made := self._h2.data_to_send():
            self._parts.append(made)
        return len(made)

    def close(self) -> None:
        """Breaks the reference cycles inside h2."""
        self.is_broken = True
        self._h2.streams.clear()
        self._h2._frame_dispatch_table.clear()
