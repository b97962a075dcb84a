from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts, feed
from trio_router.wire.detect import FormatReader
from trio_router.wire.json_array import JSONArrayDecoder
from trio_router.wire.lines import LineTooLongError

LIMIT = 1 << 20
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\[]{},é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\]}', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(data: bytes, offsets=(), limit: int = LIMIT) -> list[bytes]:
    decoder = JSONArrayDecoder(limit)
    return feed(decoder.receive_data, at_offsets(data, offsets)) + decoder.receive_eof()


def outcome(data: bytes, offsets, limit: int):
    """The records, and whether one was too long, as whoever reads them sees it."""
    decoder = JSONArrayDecoder(limit)
    records: list[bytes] = []
    try:
        for piece in at_offsets(data, offsets):
            records += decoder.receive_data(piece)
        return records + decoder.receive_eof(), False
    except LineTooLongError as fault:
        return records + fault.before, True


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]), st.booleans(), cuts(200))
def test_every_element_comes_whole_whatever_the_cuts(values, indent, ascii_only, offsets):
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    assert [json.loads(record) for record in read(data, offsets)] == values


def test_an_element_comes_as_soon_as_it_is_known_to_be_whole():
    decoder = JSONArrayDecoder(LIMIT)
    assert decoder.receive_data(b'[{"a": "1]') == []
    assert decoder.receive_data(b'"}\r\n') == []
    assert decoder.receive_data(b",\r\n") == [b'{"a": "1]"}']
    assert decoder.receive_data(b'{"b": 2}]') == [b'{"b": 2}']
    assert decoder.receive_eof() == []


def test_an_array_that_was_cut_off_gives_what_was_left():
    assert read(b'[{"a":1},\n{"b":') == [b'{"a":1}', b'{"b":']
    assert read(b'[{"a":1}') == [b'{"a":1}']
    assert read(b"[") == []


def test_what_stands_outside_of_the_array_is_not_lost():
    assert read(b'[{"a":1}]\n oops') == [b'{"a":1}', b"oops"]
    assert read(b'[{"a":1}]\n[2]') == [b'{"a":1}', b"2"]
    assert read(b"[1},2]") == [b"1}", b"2"]
    assert read(b"[1,,2,]]") == [b"1", b"2", b"]"]


@given(st.binary(max_size=60) | st.text('[]{},"\\a ', max_size=60).map(str.encode), cuts(60))
def test_arbitrary_bytes_raise_nothing_and_cuts_never_matter(data, offsets):
    assert read(data, offsets) == read(data)


@given(st.text('[{"a },]', max_size=40).map(lambda text: b"[" + text.encode()), cuts(40))
def test_an_element_that_is_too_long_is_refused_after_what_came_before_it(data, offsets):
    assert outcome(data, offsets, 5) == outcome(data, [], 5)


def test_an_endless_element_is_refused():
    decoder = JSONArrayDecoder(1000)
    decoder.receive_data(b'[{"a": "')
    with pytest.raises(LineTooLongError):
        for _ in range(1000):
            decoder.receive_data(b"12345678")


@given(cuts(60))
def test_an_array_is_seen_whatever_the_content_type_says(offsets):
    data = b'\xef\xbb\xbf\r\n[{"a":1}\n,\r\n{"b":2}]\n'
    for content_type in ("application/json", "text/event-stream", ""):
        reader = FormatReader(content_type, LIMIT)
        records = feed(reader.receive_data, at_offsets(data, offsets)) + reader.receive_eof()
        assert [record.data for record in records] == [b'{"a":1}', b'{"b":2}']
        assert reader.format == "json-array"
