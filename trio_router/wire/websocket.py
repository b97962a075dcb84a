"""WebSocket frames (RFC 6455), as a server has them: bytes to messages, messages to frames.  Sans-IO.

Frames are taken apart by wsproto.  No extension is offered: what a compressed message unpacks to would
have no limit.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsproto.frame_protocol import FrameDecoder, MessageDecoder, Opcode, ParseFailed

if TYPE_CHECKING:
    from wsproto.frame_protocol import Frame

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A  # each a whole message
_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
NORMAL, GOING_AWAY, POLICY, TOO_BIG, BROKEN_OFF = 1000, 1001, 1008, 1009, 1011
_NO_TEXT = 1003


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text message.  `is_last`: the message is whole."""

    data: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class Ping:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Closing:
    """The other side closes, or has broken the protocol: `code` is what it is answered with."""

    code: int
    is_fault: bool = False


Event = Piece | Ping | Closing


class FrameReader:
    """Bytes in any pieces -> events.  Nothing follows a Closing; bad input is one."""

    def __init__(self) -> None:
        self._frames = FrameDecoder(client=False)
        self._messages = MessageDecoder()
        self.is_over = False

    def receive_data(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        self._frames.receive_bytes(data)
        try:
            while not self.is_over and (frame := self._frames.process_buffer()) is not None:
                if (event := self._event(frame)) is not None:
                    events.append(event)
                self.is_over = isinstance(event, Closing)
        except ParseFailed as fault:
            self.is_over = True
            events.append(Closing(int(fault.code), is_fault=True))
        return events

    def _event(self, frame: Frame) -> Event | None:
        payload = frame.payload
        match frame.opcode:
            case Opcode.PING:
                return Ping(_bytes(payload))
            case Opcode.PONG:
                return None
            case Opcode.CLOSE:
                return Closing(_close_code(_bytes(payload)))
        piece = self._messages.process_frame(frame)
        if piece.opcode is not Opcode.TEXT or not isinstance(piece.payload, str):
            return Closing(_NO_TEXT, is_fault=True)
        return Piece(piece.payload.encode(), piece.message_finished)


def _bytes(payload: object) -> bytes:
    return bytes(payload) if isinstance(payload, bytes | bytearray) else b""


def _close_code(payload: bytes) -> int:
    """What a close is answered with.  Raises ParseFailed."""
    if not payload:
        return NORMAL
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or code not in _CODES:
        raise ParseFailed("a close with a code that there is not")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise ParseFailed("a close whose reason is not UTF-8") from None
    return code


def text_frame(message: bytes) -> bytes:
    """`message`, which is UTF-8, as one frame."""
    size = len(message)
    if size < 126:
        return b"%c%c%b" % (_TEXT, size, message)
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (_TEXT, struct.pack("!H", size), message)
    return b"%c\x7f%b%b" % (_TEXT, struct.pack("!Q", size), message)


def ping_frame() -> bytes:
    return b"%c\x00" % _PING


def pong_frame(payload: bytes) -> bytes:
    return b"%c%c%b" % (_PONG, len(payload), payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """`reason` is ASCII, and short."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return b"%c%c%b" % (_CLOSE, len(payload), payload)


def accept_of(key: bytes) -> bytes | None:
    """What answers a handshake's key; None if it is no such key."""
    try:
        nonce = base64.b64decode(key, validate=True)
    except binascii.Error:
        return None
    if len(nonce) != 16:
        return None
    return base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
