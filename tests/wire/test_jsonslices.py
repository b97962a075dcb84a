"""JSON in slices: the same values as in one step, and no step over a slice."""

from __future__ import annotations

import json
import threading
import tracemalloc

import pytest
from hypothesis import example, given, strategies as st

from trio_router.wire import jsonslices, jsonwriter
from trio_router.wire.jsoncodec import JSONError, JSONTooLarge, dumps, is_heavy, loads, sliced
from trio_router.wire.jsonslices import parse, skim
from trio_router.wire.jsonwriter import encode

KEYS = st.text(max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=40)
    | st.sampled_from(["\ud800", "\udc00a", "a\ud83d", "😀" * 9, '"\\\n' * 9, "é" * 20])
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=12) | st.dictionaries(KEYS, v, max_size=8), max_leaves=40
)


def nothing() -> None:
    pass


@pytest.fixture
def small(monkeypatch):
    """Slices so short that every value is more than one."""

    def to(size):
        monkeypatch.setattr(jsonslices, "SLICE", size)
        monkeypatch.setattr(jsonwriter, "SLICE", size)
        monkeypatch.setattr(jsonwriter, "_SMALL", size // 8)
        monkeypatch.setattr(jsonwriter, "_RUN", 3)

    return to


@pytest.mark.parametrize("size", [48, 64])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 1])
def test_what_is_parsed_in_slices_is_what_is_parsed_at_once(small, size, ascii_only, indent):
    small(size)

    @given(VALUES)
    @example([10**20, "x" * 500, {"k" * 100: ["\ud83d", "\ude00", 1e300]}])
    @example({"a": [[[[[["deep" * 30]]]]]], "a b": "😀" * 60 + "\ud83d"})
    def check(value):
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(errors="surrogatepass")
        assert parse(text, nothing) == json.loads(text)

    check()


@pytest.mark.parametrize("size", [48, 64])
def test_what_is_encoded_in_slices_is_the_same_value(small, size):
    small(size)

    @given(VALUES)
    def check(value):
        assert json.loads(encode(value, nothing)) == value

    check()


@pytest.mark.parametrize("size", [48, 64])
def test_what_is_no_json_is_refused_in_slices_too(small, size):
    small(size)

    @given(VALUES, st.data())
    @example([1, 2, 3], None)
    def check(value, data):
        text = json.dumps([value, "x" * 30]).encode()
        texts = [
            text[:-1],
            text + b"]",
            text + b",",
            b"[," + text[1:],
            text[:-1] + b",]",
            b"[NaN]" + text,
        ]
        if data is not None:
            at = data.draw(st.integers(0, len(text) - 1))
            texts.append(
                text[:at] + data.draw(st.sampled_from(list('[]{},:"\\0e \0'))).encode() + text[at + 1 :]
            )
            texts.append(text[:at])
        for bad in texts:
            try:
                whole = json.loads(bad, parse_constant=jsonslices._refuse)
            except ValueError:
                with pytest.raises(JSONError):
                    parse(bad, nothing)
            else:
                assert parse(bad, nothing) == whole

    check()


BAD = [
    b'["' + b"a" * 200,
    b'["' + b"a" * 200 + b"\\",
    b'["' + b"a" * 200 + b"\\q" + b'"]',
    b'["' + b"\n" * 200 + b'"]',
    b'["' + b"\xff" * 200 + b'"]',
    b"[" + b"1" * 200 + b"x]",
    b'{"a" 1' + b" " * 200 + b"}",
    b'{1: "' + b"a" * 200 + b'"}',
    b"[1 2" + b" " * 200 + b"]",
    b"",
    b"   ",
]


@pytest.mark.parametrize("text", BAD)
def test_bad_long_values_are_refused(small, text):
    small(32)
    with pytest.raises(JSONError):
        parse(text, nothing)


HEAVY = {
    "text": (b'{"a": "', b"hello, {world} ", b'"}'),
    "escapes": (b'{"a": "', b"\\n\\u4e2d", b'"}'),
    "surrogates": (b'{"a": "', b"\\ud800", b'"}'),
    "texts": (b'{"a": [', b'"' + b"a, b " * 2000 + b'",', b"0]}"),
    "code": (b'{"a": [', b'{"role":"user","content":"' + b"f(x[{y}], '')\\n" * 99 + b'"},', b"0]}"),
    "numbers": (b'{"a": [', b"0.012345678901,", b"0]}"),
    "integers": (b'{"a": [', b"9" * 4000 + b",", b"0]}"),
    "spaces": (b'{"a": [', b" " * 100 + b"1,", b"0]}"),
}
TOO_MUCH = {
    "emoji": (b'{"a": "', "a😀".encode() + b"a" * 1000, b'"}'),
    "zeros": (b'{"a": [', b"0,", b"0]}"),
    "lists": (b'{"a": [', b"[],", b"0]}"),
    "objects": (b'{"a": [', b'{"a":1},', b"0]}"),
    "keys": (b'{"a": {', b'"k":"v",', b'"z":0}}'),
    "messages": (b'{"a": [', b'{"role":"user","content":"a\\ud800"},', b"0]}"),
    "deep": (b'{"a": ', b"[", b""),
}


def body_of(begin: bytes, middle: bytes, end: bytes) -> bytes:
    return begin + middle * ((8 << 20) // len(middle)) + end


@pytest.fixture
def steps(monkeypatch):
    """The lengths of what is given to the parsers in C, which hold the interpreter's lock."""
    lengths: list[int] = []

    def watch(name):
        inner = getattr(jsonslices.PLAIN, name)

        def watched(data, *at):
            lengths.append(len(data) - (at[0] if at else 0))
            return inner(data, *at)

        monkeypatch.setattr(jsonslices.PLAIN, name, watched)

    watch("decode")
    watch("scan")
    return lengths


@pytest.mark.parametrize("name", HEAVY)
def test_no_step_gets_more_than_a_slice_whatever_is_in_the_text(steps, name):
    body = body_of(*HEAVY[name])
    assert is_heavy(body)
    pauses: list[int] = []
    with sliced(lambda: pauses.append(0)):
        value = loads(body)
        assert max(steps) <= jsonslices.SLICE + 2
        assert len(pauses) >= len(body) // jsonslices.SLICE
        pauses.clear()
        encoded = dumps(value)
        assert len(pauses) >= min(50, len(encoded) // jsonslices.SLICE // 8)
    assert json.loads(encoded) == value == json.loads(body)


@pytest.mark.parametrize("name", TOO_MUCH)
def test_values_that_would_take_much_more_memory_than_their_text_are_refused(monkeypatch, steps, name):
    monkeypatch.setattr(jsonslices, "_WIDEST", 16 << 20)
    body = body_of(*TOO_MUCH[name])
    tracemalloc.start()
    try:
        with sliced(nothing), pytest.raises(JSONError if name == "deep" else JSONTooLarge):
            loads(body)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()
    assert max(steps) <= jsonslices.SLICE + 2


def test_a_skim_checks_all_and_keeps_what_is_short(small):
    small(48)
    body = b'{"data": [' + b"[1, 2.5], " * 100 + b'{"a": "b"}], "usage": {"n": 1}, "x": ""}'
    assert skim(body, nothing) == {"data": [], "usage": {"n": 1}, "x": ""}
    with pytest.raises(JSONError):
        skim(body.replace(b"2.5", b"2.5.", 1), nothing)


def test_a_long_fraction_is_refused_and_not_read():
    with sliced(nothing), pytest.raises(JSONError):
        loads(b"0." + b"1" * 1_000_000)


def test_what_is_short_or_has_little_in_it_is_not_heavy():
    assert not is_heavy(b"{" * (128 << 10))
    assert not is_heavy(b'{"a": "' + b"hello, world and all that, {x[0]} " * 3900 + b'"}')
    assert is_heavy(b"{}," * 50_000)
    assert not is_heavy(b"a" * (1 << 20))
    assert is_heavy(b"a" * (1 << 20) + b"a")


def test_only_the_thread_that_asked_for_it_works_in_slices():
    body = b"[" + b"1," * 100_000 + b"1]"
    pauses: list[int] = []
    with sliced(lambda: pauses.append(0)):
        other = threading.Thread(target=loads, args=(body,))
        other.start()
        other.join()
        assert not pauses
        loads(body)
    assert pauses
