"""WebSocket frames, checked against wsproto's client."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping as ClientPing, Pong, TextMessage

from trio_router.wire.websocket import (
    Closing,
    FrameReader,
    Ping,
    accept_of,
    close_frame,
    ping_frame,
    pong_frame,
    text_frame,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)


def masked(opcode: int, payload: bytes, *, fin: bool = True, length: bytes | None = None) -> bytes:
    """One frame of a client; the mask is of zeros."""
    size = len(payload)
    if length is None:
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
    head = bytes([opcode | (0x80 if fin else 0), length[0] | 0x80]) + length[1:]
    return head + b"\0\0\0\0" + payload


def read(data: bytes, size: int = 1 << 20) -> list:
    reader = FrameReader()
    cut = [data[i : i + size] for i in range(0, len(data), size)]
    return [event for piece in cut for event in reader.receive_data(piece)]


@given(st.lists(TEXT, max_size=5), st.integers(1, 400), st.integers(1, 5))
def test_messages_come_out_as_they_were_sent_whatever_the_cuts(texts, cut, pieces):
    client = Connection(ConnectionType.CLIENT)
    data = b""
    for text in texts:
        step = max(1, -(-len(text) // pieces))
        parts = [text[i : i + step] for i in range(0, len(text), step)] or [""]
        for number, part in enumerate(parts, 1):
            data += client.send(TextMessage(data=part, message_finished=number == len(parts)))
            data += client.send(ClientPing(payload=b"p"))
    found, message = [], b""
    for event in read(data, cut):
        if not isinstance(event, Ping):
            message += event.data
            if event.is_last:
                found.append(message.decode())
                message = b""
    assert found == texts


@given(st.one_of(TEXT, st.integers(120, 70_000).map(lambda n: "x" * n)))
def test_a_text_frame_is_what_a_client_reads(text):
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(text.encode()) + ping_frame() + close_frame(1001, "bye"))
    *pieces, ping, close = client.events()
    assert "".join(p.data for p in pieces) == text
    assert isinstance(ping, ClientPing)
    assert (int(close.code), close.reason) == (1001, "bye")


def test_a_pong_has_the_pings_payload():
    client = Connection(ConnectionType.CLIENT)
    data = client.send(ClientPing(payload=b"abc"))
    assert read(data) == [Ping(b"abc")]
    client.receive_data(pong_frame(b"abc"))
    assert list(client.events()) == [Pong(payload=b"abc")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x01x", 1002, id="not masked"),
        pytest.param(masked(0x1, b"\xff"), 1007, id="not UTF-8"),
        pytest.param(masked(0x1, b"\xe2\x82"), 1007, id="half a character"),
        pytest.param(masked(0x2, b"x"), 1003, id="binary"),
        pytest.param(masked(0x3, b"x"), 1002, id="an opcode that there is not"),
        pytest.param(masked(0x0, b"x"), 1002, id="a continuation of nothing"),
        pytest.param(masked(0x1, b"x", fin=False) + masked(0x1, b"y"), 1002, id="begun twice"),
        pytest.param(masked(0x41, b"x"), 1002, id="a reserved bit"),
        pytest.param(masked(0x9, b"x", fin=False), 1002, id="a ping in pieces"),
        pytest.param(masked(0x9, b"x" * 126), 1002, id="a long ping"),
        pytest.param(masked(0x1, b"x", length=b"\x7e\0\1"), 1002, id="a length too long"),
        pytest.param(masked(0x1, b"", length=b"\x7f" + b"\xff" * 8), 1002, id="a length beyond all"),
        pytest.param(masked(0x8, b"\x03"), 1002, id="half a code"),
        pytest.param(masked(0x8, b"\x03\xed"), 1002, id="a code that is not sent"),
        pytest.param(masked(0x8, b"\x03\xe8\xff"), 1002, id="a reason that is not UTF-8"),
    ],
)
def test_what_breaks_the_protocol_closes_with_the_right_code(data, code):
    for size in (1, 1 << 20):
        *_, last = read(data + masked(0x1, b"more"), size)
        assert last == Closing(code, is_fault=True)


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", 1000), (b"\x03\xe8", 1000), (b"\x03\xe9away", 1001), (b"\x0f\xa0", 4000)],
)
def test_a_close_is_answered_with_its_code_and_nothing_follows(payload, code):
    assert read(masked(0x8, payload) + masked(0x1, b"more")) == [Closing(code)]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_bytes_of_any_kind_raise_nothing(data, size):
    events = read(data, size)
    assert [isinstance(e, Closing) for e in events].count(True) <= 1
    assert read(b"".join([data])) is not None


def test_the_handshakes_answer_is_that_of_the_rfc():
    assert accept_of(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for key in (b"", b"x", b"dGhlIHNhbXBsZQ==", b"dGhlIHNhbXBsZSBub25jZQ", b"\xff" * 24):
        assert accept_of(key) is None


def test_a_closing_client_is_understood():
    client = Connection(ConnectionType.CLIENT)
    assert read(client.send(CloseConnection(code=1000, reason="done"))) == [Closing(1000)]
