"""AWS's event streams: whole messages or a typed error, wherever they are cut or changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from tests.clouds.events import chunk, event, exception, message, said
from tests.helpers import at_offsets, cuts, feed
from trio_router.wire.detect import FormatReader
from trio_router.wire.eventstream import (
    EventMessage,
    EventRecords,
    EventStreamDecoder,
    EventStreamError,
)
from trio_router.wire.lines import LineTooLongError

LIMIT = 1 << 20
NAMES = st.text("abcxyz:-é", min_size=1, max_size=20)
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40), st.text(max_size=40)
)
MESSAGES = st.lists(
    st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=100)), max_size=6
)


def outcome(decoder, pieces) -> tuple[list, type | None]:
    """What came, and how it ended."""
    got: list = []
    for piece in pieces:
        try:
            got += decoder.receive_data(piece)
        except (EventStreamError, LineTooLongError) as fault:
            return got + fault.before, type(fault)
    return got, None


@given(MESSAGES, cuts(900))
def test_messages_are_the_same_wherever_they_are_cut(messages, offsets):
    data = b"".join(message(headers, payload) for headers, payload in messages)
    decoder = EventStreamDecoder(LIMIT)
    got = feed(decoder.receive_data, at_offsets(data, offsets))
    assert got == [EventMessage(headers, payload) for headers, payload in messages]
    assert not decoder.is_within


@given(MESSAGES.filter(bool), st.data(), cuts(900))
def test_a_changed_byte_is_an_error_and_takes_no_message_before_it(messages, data, offsets):
    whole = [message(headers, payload) for headers, payload in messages]
    stream = bytearray(b"".join(whole))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    intact = 0
    while sum(map(len, whole[: intact + 1])) <= place:
        intact += 1
    got, fault = outcome(EventStreamDecoder(LIMIT), at_offsets(bytes(stream), offsets))
    assert fault in (EventStreamError, LineTooLongError)
    assert got == [EventMessage(headers, payload) for headers, payload in messages[:intact]]


@given(st.binary(max_size=200), cuts(200))
def test_garbage_is_an_error_or_waits_for_more(data, offsets):
    whole = outcome(EventStreamDecoder(LIMIT), [data])
    assert outcome(EventStreamDecoder(LIMIT), at_offsets(data, offsets)) == whole
    assert whole[0] == []


@given(MESSAGES, cuts(900))
def test_it_reads_what_botocore_reads(messages, offsets):
    buffer = pytest.importorskip("botocore.eventstream").EventStreamBuffer()
    data = b"".join(message(headers, payload) for headers, payload in messages)
    theirs = []
    for piece in at_offsets(data, offsets):
        buffer.add_data(piece)
        theirs += [(one.headers, one.payload) for one in buffer]
    ours = EventStreamDecoder(LIMIT).receive_data(data)
    assert [(one.headers, one.payload) for one in ours] == theirs


def test_a_message_over_the_limit_is_told_from_its_first_bytes():
    decoder = EventStreamDecoder(100)
    small, large = message({"a": "b"}, b"x" * 100), message({"a": "b"}, b"x" * 101)
    assert len(decoder.receive_data(small)) == 1
    with pytest.raises(LineTooLongError) as raised:
        decoder.receive_data(small + large[:12])
    assert len(raised.value.before) == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"\x01a\x0a",
        b"\x05ab",
        b"\x01a\x07\x00\x09short",
        b"\x01a\x00\x01a\x00",
        b"\x01\xff\x00",
        b"\x01a",
    ],
    ids=["unknown-type", "cut-name", "cut-value", "twice", "no-utf8", "no-type"],
)
def test_headers_that_cannot_be_read_are_an_error(headers):
    import binascii
    import struct

    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    data = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers
    data += struct.pack(">I", binascii.crc32(data))
    with pytest.raises(EventStreamError):
        EventStreamDecoder(LIMIT).receive_data(data)


def records(data: bytes) -> list:
    return EventRecords(LIMIT).receive_data(data)


def test_a_member_of_the_union_is_the_only_key_of_its_record():
    (got,) = records(event("messageStart", {"role": "assistant"}))
    assert (got.event, json.loads(got.data)) == (b"message", {"messageStart": {"role": "assistant"}})


def test_a_chunk_is_what_the_model_said_byte_for_byte():
    inner = b'{ "type":"ping",  "x": "\xc3\xa9" }'
    (got,) = records(chunk(inner))
    assert got.data == inner


def test_an_exception_is_an_error_with_the_status_that_it_would_have_had():
    (got,) = records(exception("throttlingException", "Too many tokens"))
    assert got.event == b"error"
    told = {"type": "throttlingException", "message": "Too many tokens", "code": 429}
    assert json.loads(got.data) == {"error": told}


def test_an_error_of_the_framing_itself_is_told_too():
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "broken"}
    (got,) = records(message(headers, b""))
    assert json.loads(got.data)["error"] == {"type": "InternalError", "message": "broken"}


@pytest.mark.parametrize("content_type", ["application/vnd.amazon.eventstream", "", "text/plain"])
@given(offsets=cuts(600))
def test_the_format_is_seen_whatever_the_content_type_says(content_type, offsets):
    data = said("Hel", "lo")
    reader = FormatReader(content_type, LIMIT)
    got = feed(reader.receive_data, at_offsets(data, offsets))
    assert reader.format == "eventstream"
    assert [next(iter(json.loads(one.data))) for one in got] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]


def test_a_nul_alone_makes_no_event_stream():
    reader = FormatReader("text/event-stream", LIMIT)
    reader.receive_data(b"\0\0\0\0 and so on, more than twelve bytes\n\n")
    assert reader.format == "sse"


def test_json_is_json_under_the_name_of_an_event_stream():
    reader = FormatReader("application/vnd.amazon.eventstream", LIMIT)
    reader.receive_data(b'{"message": "no"}\n')
    assert reader.format == "json"
