from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts, feed
from trio_router.wire.detect import FormatReader, NotAStreamError
from trio_router.wire.jsoncodec import loads
from trio_router.wire.lines import LineTooLongError

LIMIT = 1 << 20
SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
JSON = "application/json"


def read(data: bytes, content_type: str = "", offsets=()) -> tuple[list[bytes], str | None]:
    reader = FormatReader(content_type, LIMIT)
    records = feed(reader.receive_data, at_offsets(data, offsets)) + reader.receive_eof()
    return [r.data for r in records], reader.format


@pytest.mark.parametrize("content_type", [SSE, NDJSON, JSON, "", "text/plain"])
@given(offsets=cuts(80))
def test_the_content_tells_the_format_whatever_the_header_says(content_type, offsets):
    assert read(b'data: {"a":1}\n\ndata: [DONE]\n\n', content_type, offsets) == (
        [b'{"a":1}', b"[DONE]"],
        "sse",
    )
    assert read(b'{"a":1}\n{"b":2}\n', content_type, offsets) == ([b'{"a":1}', b'{"b":2}'], "ndjson")


@given(cuts(200), st.sampled_from([None, 2]))
def test_one_json_value_is_one_record_on_one_line_or_many(offsets, indent):
    value = {"choices": [{"message": {"content": "a\nb"}}], "n": {"x": []}}
    data = json.dumps(value, indent=indent).encode()
    records, format_ = read(data, JSON, offsets)
    assert [json.loads(r) for r in records] == [value]
    assert format_ == "json"


@given(cuts(60))
def test_blank_lines_before_the_answer_are_no_part_of_it(offsets):
    assert read(b"\n \r\n\n" * 5 + b'{"a":1}', JSON, offsets) == ([b'{"a":1}'], "json")
    assert read(b"\n\n" + b"data: 1\n\n", SSE, offsets) == ([b"1"], "sse")


def test_blank_lines_without_end_take_no_memory():
    reader = FormatReader(JSON, LIMIT)
    for _ in range(10_000):
        assert reader.receive_data(b"\n" * 100) == []
    assert len(reader._head) <= 100


def test_a_broken_first_record_does_not_swallow_those_behind_it():
    records, _ = read(b'{"a": 1\n{"b":2}\n{"c":3}\n', NDJSON)
    assert records == [b'{"a": 1', b'{"b":2}', b'{"c":3}']


def test_a_printed_json_value_followed_by_records_is_told_from_them():
    records, _ = read(b'{\n  "a": 1\n}\n{"b":2}\n', "")
    assert [json.loads(r) for r in records] == [{"a": 1}, {"b": 2}]


def test_a_page_is_no_stream():
    with pytest.raises(NotAStreamError):
        read(b"\n<!doctype html><html>", "text/html")


def test_an_endless_json_value_is_refused():
    reader = FormatReader(JSON, 1000)
    reader.receive_data(b'{\n  "a":\n')
    with pytest.raises(LineTooLongError):
        for _ in range(1000):
            reader.receive_data(b"  [\n")


def test_nothing_has_no_format():
    assert read(b"", SSE) == ([], None)


@given(st.binary(max_size=200), cuts(200))
def test_arbitrary_bytes_raise_nothing_else_and_cuts_never_matter(data, offsets):
    def outcome(places):
        try:
            return read(data, "", places)
        except NotAStreamError:
            return "page"

    assert outcome(offsets) == outcome([])


def test_a_value_of_many_lines_is_parsed_some_times_whatever_its_lines_are(monkeypatch):
    parsed = []

    def counted(data):
        parsed.append(len(data))
        return loads(data)

    monkeypatch.setattr("trio_router.wire.detect.loads", counted)
    for line in (b"],[\n", b"]\n", b"},\n"):
        parsed.clear()
        reader = FormatReader("application/json", 1 << 20)
        records = reader.receive_data(b'{"a": [[\n' + line * 20_000)
        records += reader.receive_eof()
        assert len(records) >= 1
        assert len(parsed) <= 20
