"""Long text in slices: the same as in one step, and a pause after each slice."""

from __future__ import annotations

import base64
import sys
import tracemalloc

import pytest
from hypothesis import example, given, settings, strategies as st

from trio_router.dialects.media import base64_of_text, check_base64, text_of_base64
from trio_router.errors import InvalidRequest
from trio_router.wire import lines, slicing
from trio_router.wire.jsoncodec import dumps, dumps_text, loads, loads_text
from trio_router.wire.lines import repair_utf8
from trio_router.wire.slicing import SLICE, decoded, encoded, joined, sliced, slices

TEXT = st.text(st.characters(), max_size=60) | st.sampled_from(["\ud83d\ude00", "a\ud800", "😀é中" * 9])
PIECES = [b"a", b"\xe4\xb8", b"\xad", b"\xf0\x9f", b"\x98\x80", b"\xc3", b"\xff", b"\xed\xa0\x80"]
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES)).map(b"".join)
LEAVES = TEXT | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v) | st.dictionaries(TEXT, v), max_leaves=20)
REPLACEMENT = "\ufffd".encode()


def nothing() -> None:
    pass


@pytest.fixture(params=[3, 4, 8])
def small(request, monkeypatch):
    """Slices of so few bytes that every text is several."""
    monkeypatch.setattr(slicing, "SLICE", request.param)
    monkeypatch.setattr(lines, "SLICE", request.param)


def test_text_is_encoded_in_slices_as_at_once(small):
    @given(TEXT, st.sampled_from(["surrogatepass", "replace"]))
    def check(text, errors):
        with sliced(nothing):
            assert encoded(text, errors) == text.encode(errors=errors)

    check()


@given(st.lists(TEXT))
def test_pieces_that_grow_into_a_text_are_the_same_as_joined(pieces):
    assert joined(iter(pieces)) == "".join(pieces)


@pytest.mark.parametrize("piece", ["a" * SLICE, "中" * SLICE, "😀" * SLICE])
def test_a_text_grows_in_place(piece):
    """So no step touches all of its memory, and pieces and text are not in memory both."""
    size = 100 * sys.getsizeof(piece)
    joined(f"{piece}{i}" for i in range(100))  # the interpreter learns that it can
    tracemalloc.start()
    try:
        joined(f"{piece}{i}" for i in range(100))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * size


def test_bytes_are_decoded_in_slices_as_at_once(small):
    @given(BYTES)
    @example(REPLACEMENT * 5)
    def check(data):
        with sliced(nothing):
            assert "".join(decoded(slices(data), "replace")) == data.decode(errors="replace")

    check()


def test_wrong_utf8_is_repaired_and_counted_in_slices_as_at_once(small):
    @given(BYTES | TEXT.map(lambda text: text.encode(errors="replace")))
    @example(REPLACEMENT * 5 + b"\xff" + REPLACEMENT)
    @example("中文字符".encode())
    def check(data):
        at_once = repair_utf8(data)
        with sliced(nothing):
            assert repair_utf8(data) == at_once

    check()


@given(VALUES)
@example({"a": "中" * 70_000, "b": ["\ud800" * 30_000]})
def test_json_in_a_string_is_written_and_read_in_slices_as_at_once(value):
    at_once = dumps(value)
    with sliced(nothing):
        text = dumps_text(value)
        assert text.encode() == at_once
        assert loads_text(text) == loads(at_once)
    assert loads_text(text) == loads(at_once)
    assert dumps_text(value) == text


def test_json_in_a_string_may_have_half_an_emoji_in_it():
    for text in ("\ud800", "a" * 70_000 + "\udc00"):
        assert loads_text(f'"{text}"') == text


@settings(max_examples=20)
@given(TEXT.map(lambda text: text * 5_000))
@example("a")
def test_a_long_documents_base64_is_read_and_written_as_at_once(text):
    data = base64.b64encode(text.encode(errors="replace")).decode()
    with sliced(nothing):
        assert base64_of_text(text) == data
        assert text_of_base64(data) == text.encode(errors="replace").decode()


EARLY = "YWJj" * (SLICE // 4 - 1) + "YWI=" + "YWJj"  # the padding ends a slice


@pytest.mark.parametrize(
    "data", [EARLY, "YWI=" * 20_000, "YWJj" * 20_000 + "YW", "YWJj" * 20_000 + "\n"]
)
def test_long_base64_that_ends_too_early_or_too_late_is_refused(data):
    with sliced(nothing), pytest.raises(InvalidRequest):
        check_base64(data, "data")


@pytest.mark.parametrize(
    ("work", "least"),
    [
        (lambda text, _: encoded(text), 20),
        (lambda text, _: repair_utf8(text.encode()), 20),
        (lambda text, _: repair_utf8(text.encode() + b"\xff"), 40),
        (lambda text, _: dumps_text([text]), 40),
        (lambda _, json: loads_text(json), 40),
        (lambda text, _: base64_of_text(text), 20),
        (lambda text, _: text_of_base64(base64.b64encode(text.encode()).decode()), 20),
        (lambda text, _: check_base64(base64.b64encode(text.encode()).decode(), "data"), 20),
    ],
)
def test_a_long_text_pauses_after_each_slice_in_a_thread_that_works_in_slices(work, least):
    text = "中文" * (10 * SLICE)
    json = dumps(text).decode()
    pauses = []
    with sliced(lambda: pauses.append(1)):
        work(text, json)
    count = len(pauses)
    assert count >= least
    work(text, json)
    assert len(pauses) == count  # elsewhere nothing pauses
