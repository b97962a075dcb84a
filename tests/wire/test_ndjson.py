from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, corpus, cuts, every_size, feed, raw
from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.lines import LineTooLongError, repair_utf8
from trio_router.wire.ndjson import NDJSONDecoder, encode_line

LIMIT = 1 << 26
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(values), st.booleans(), st.booleans(), cuts())
def test_records_survive_any_cut_and_a_missing_last_line_end(records, crlf, ended, offsets):
    lines = [json.dumps(r, ensure_ascii=False).encode() for r in records]
    data = b"".join(encode_line(line + b"\r" * crlf) for line in lines)
    decoder = NDJSONDecoder(LIMIT)
    got = feed(decoder.receive_data, at_offsets(data if ended else data[:-1], offsets))
    assert got + decoder.receive_eof() == lines


def test_blank_lines_are_no_records():
    decoder = NDJSONDecoder(LIMIT)
    assert decoder.receive_data(b"\n \t \n\r\n{}\n") == [b"{}"]
    assert decoder.receive_data(b"  ") + decoder.receive_eof() == []


def test_an_endless_record_is_refused():
    decoder = NDJSONDecoder(100)
    with pytest.raises(LineTooLongError):
        decoder.receive_data(b"[" * 101)


@pytest.mark.corpus
def test_every_recorded_ndjson_vector_holds_under_every_cut():
    for case in corpus("ndjson_vectors.jsonl"):
        data = raw(case)
        for pieces in [*every_size(data), at_offsets(data, case.get("chunking", ()))]:
            decoder = NDJSONDecoder(LIMIT)
            got = feed(decoder.receive_data, pieces) + decoder.receive_eof()
            assert len(got) == len(case["records"]), case["name"]
            for line, expected in zip(got, case["records"], strict=True):
                _check(line, expected, case["name"])


def _check(line: bytes, expected: dict, name: str) -> None:
    mended, _ = repair_utf8(line)
    if not expected["ok"]:
        with pytest.raises(JSONError):
            loads(mended)
    elif "json_ascii" in expected:
        assert json.dumps(loads(mended)) == json.dumps(json.loads(expected["json_ascii"])), name
    else:
        assert loads(mended) == expected["json"], name
