from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, corpus, cuts, every_size, feed, raw
from trio_router.wire.lines import LineBuffer, LineTooLongError, repair_utf8

LIMIT = 1 << 26
text = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


@given(st.lists(text), st.sampled_from(["\n", "\r", "\r\n"]), cuts())
def test_any_cut_of_any_text_gives_the_same_lines(lines, end, offsets):
    lines = [re.sub(r"[\r\n]", "", line).removeprefix("\ufeff") for line in lines]
    data = "".join(line + end for line in lines).encode()
    buffer = LineBuffer(LIMIT)
    got = feed(buffer.receive_data, at_offsets(data, offsets))
    assert [line.decode() for line in got] == lines
    assert buffer.receive_eof() is None


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", "é".encode()])), cuts(40))
def test_mixed_line_ends_are_cut_alike_wherever_reads_end(pieces, offsets):
    data = b"".join(pieces)
    expected = re.split(rb"\r\n|\r|\n", data)
    buffer = LineBuffer(LIMIT)
    got = feed(buffer.receive_data, at_offsets(data, offsets))
    assert [*got, buffer.receive_eof() or b""] == expected


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c"])
def test_separators_of_splitlines_are_text(separator):
    data = f'data: {{"t":"a{separator}b"}}\n'.encode()
    assert feed(LineBuffer(LIMIT).receive_data, [data]) == [data[:-1]]


def test_only_lf_ends_a_line_where_it_is_asked_for():
    buffer = LineBuffer(LIMIT, lf_only=True)
    assert buffer.receive_data(b"a\rb\r\nc") == [b"a\rb\r"]
    assert buffer.receive_eof() == b"c"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_one_byte_order_mark_is_removed_however_it_is_cut(size):
    data = b"\xef\xbb\xbf\xef\xbb\xbfa\n"
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert feed(LineBuffer(LIMIT).receive_data, pieces) == [b"\xef\xbb\xbfa"]


def test_half_a_byte_order_mark_at_the_end_is_not_lost():
    buffer = LineBuffer(LIMIT)
    assert buffer.receive_data(b"\xef\xbb") == []
    assert buffer.receive_eof() == b"\xef\xbb"


def test_an_endless_line_is_refused_before_it_fills_the_memory():
    buffer = LineBuffer(1000)
    fed = 0
    with pytest.raises(LineTooLongError):
        for _ in range(100):
            buffer.receive_data(b"x" * 100)
            fed += 100
    assert fed <= 1000


def test_a_long_line_in_one_read_is_refused_too():
    with pytest.raises(LineTooLongError):
        LineBuffer(1000).receive_data(b"x" * 1001 + b"\n")


def test_a_long_line_cut_byte_by_byte_costs_no_quadratic_time():
    buffer = LineBuffer(LIMIT)
    for _ in range(300_000):
        buffer.receive_data(b"x")
    assert buffer.receive_data(b"\n") == [b"x" * 300_000]


@given(st.binary(max_size=80))
def test_repaired_utf8_is_what_a_decoder_shows_and_counts_what_it_put_in(data):
    mended, wrong = repair_utf8(data)
    shown = data.decode(errors="replace")
    assert mended.decode() == shown
    assert wrong == shown.count("\ufffd") - data.count("\ufffd".encode())


def test_a_genuine_replacement_character_is_not_counted():
    assert repair_utf8("a\ufffd".encode() + b"\xff") == ("a\ufffd\ufffd".encode(), 1)


@pytest.mark.corpus
def test_every_recorded_line_vector_holds_under_every_cut():
    for case in corpus("line_vectors.jsonl"):
        data = raw(case)
        ways = [*every_size(data), at_offsets(data, case.get("chunking", ()))]
        for pieces in ways:
            buffer = LineBuffer(LIMIT)
            lines = feed(buffer.receive_data, pieces)
            tail = buffer.receive_eof()
            shown = [repair_utf8(line)[0].decode() for line in lines]
            assert shown == case["lines"], case["name"]
            assert (None if tail is None else repair_utf8(tail)[0].decode()) == case["tail"]
