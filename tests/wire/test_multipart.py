"""Forms in any pieces: one field's value rewritten, everything else byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from tests.helpers import at_offsets, cuts, every_size
from trio_router.wire.multipart import FieldRewriter, MultipartError, boundary_of

BOUNDARY = b"xYz"
FILE = b"RIFF\r\n--xY\r\n\r\n--\0\xff" * 20


def part(name: str, value: bytes, **extra: str) -> bytes:
    more = "".join(f'; {key}="{text}"' for key, text in extra.items())
    kind = b"Content-Type: audio/wav\r\n" if extra else b""
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n'.encode()
    return b"--" + BOUNDARY + b"\r\n" + head + kind + b"\r\n" + value + b"\r\n"


END = b"--" + BOUNDARY + b"--\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def rewritten(pieces, rewrite=lambda model: model.upper() + "!"):
    rewriter = FieldRewriter(BOUNDARY, "model", rewrite)
    out = b"".join(rewriter.receive_data(piece) for piece in pieces)
    rewriter.receive_eof()
    return out, rewriter


BEFORE = form(part("model", b"p/m"), part("file", FILE, filename="a.wav"), part("language", b"de"))
AFTER = form(part("file", FILE, filename="a.wav"), part("language", b"de"), part("model", b"p/m"))


@pytest.mark.parametrize("body", [BEFORE, AFTER])
def test_the_models_name_is_rewritten_at_every_cut(body):
    expected = body.replace(b"p/m", b"P/M!")
    for pieces in every_size(body):
        out, rewriter = rewritten(pieces)
        assert out == expected
        assert (rewriter.is_found, rewriter.growth) == (True, 1)


NAMES = st.sampled_from(["file", "model2", "mode", "language", "Model", "x model"])
VALUES = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from([b"\r", b"\n", b"-", b"xYz", b"--xY", b"\r\n--x", b"\r\n"])).map(b"".join),
).filter(lambda value: b"\r\n--xYz" not in b"\r\n" + value)
PARTS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


@given(PARTS, PARTS, st.text(max_size=20), st.text(max_size=20), cuts(), st.binary(max_size=20))
@example([], [], "", "", [], b"")
def test_everything_else_stays_byte_for_byte_at_any_cuts(before, after, old, new, offsets, tail):
    if "\r\n--xYz" in "\r\n" + old:
        return
    around = [[part(name, value) for name, value in some] for some in (before, after)]

    def with_model(name):
        return form(*around[0], part("model", name.encode()), *around[1]) + tail

    seen = []

    def rewrite(name):
        seen.append(name)
        return new

    out, rewriter = rewritten(at_offsets(with_model(old), offsets), rewrite)
    assert out == with_model(new)
    assert seen == [old]
    assert rewriter.growth == len(out) - len(with_model(old))


@given(PARTS, cuts())
def test_a_form_without_the_field_passes_as_it_is(parts, offsets):
    body = b"preamble\r\n" + form(*[part(name, value) for name, value in parts])
    out, rewriter = rewritten(at_offsets(body, offsets), lambda _: pytest.fail("there is none"))
    assert out == body
    assert not rewriter.is_found


def test_nothing_is_held_back_but_what_may_be_a_boundary():
    rewriter = FieldRewriter(BOUNDARY, "model", str.upper)
    head = part("file", b"", filename="a.wav").removesuffix(b"\r\n")
    assert rewriter.receive_data(head) == head
    sent = sum(len(rewriter.receive_data(b"a" * 1000)) for _ in range(1000))
    assert sent >= 1_000_000 - len(BOUNDARY) - 4


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="model"',
        b"form-data; name=model",
        b'form-data ;name="model"',
        b'FORM-DATA; NAME="model"',
        b'form-data; other=";"; name="model"',
    ],
)
def test_the_field_is_known_however_its_head_is_written(disposition):
    for name in (b"Content-Disposition", b"content-disposition"):
        head = b"--xYz\r\nX-Other: 1\r\n" + name + b":" + disposition + b"\r\n\r\n"
        assert rewritten([head + b"a\r\n" + END])[0] == head + b"A!\r\n" + END


def test_a_file_of_that_name_is_not_the_field():
    body = form(part("model", b"weights", filename="model"), part("model", b"a"))
    assert rewritten([body])[0] == body.replace(b"\r\na\r\n", b"\r\nA!\r\n")


def test_padding_after_a_boundary_is_allowed():
    body = BEFORE.replace(b"--xYz\r\n", b"--xYz \t\r\n")
    assert rewritten([body])[0] == body.replace(b"p/m", b"P/M!")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"no form at all", None),
        (BEFORE[:-8], None),
        (b"--xYzabc\r\n" + BEFORE, None),
        (b"--xYz" + b" " * 20000, None),
        (b"--xYz\r\n" + b"a: b\r\n" * 5000, None),
        (form(part("model", b"a"), part("model", b"b")), "model"),
        (form(part("model", b"\xff")), "model"),
        (form(part("model", b"a" * 2000)), "model"),
        (part("model", b"a" * 2000), None),
    ],
)
def test_what_is_no_form_is_refused_whatever_the_cuts(body, field):
    for pieces in every_size(body, (1, 7)):
        with pytest.raises(MultipartError) as caught:
            rewritten(pieces)
        assert field is None or caught.value.field in (field, None)


@given(st.binary(max_size=300), cuts(300))
def test_any_bytes_are_a_form_or_refused(data, offsets):
    for body in (
        data,
        b"--xYz\r\n" + data,
        b"--xYz\r\ncontent-disposition: " + data + b"\r\n\r\n" + END,
    ):
        try:
            whole = rewritten([body])[0]
        except MultipartError:
            with pytest.raises(MultipartError):
                rewritten(at_offsets(body, offsets))
        else:
            assert rewritten(at_offsets(body, offsets))[0] == whole


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b"', b"a b"),
        ("Multipart/Form-Data;charset=utf-8;Boundary=abc", b"abc"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=" + "a" * 300, None),
        ('multipart/form-data; boundary="\xe9"', None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json", None),
        ("", None),
    ],
)
def test_the_boundary_is_in_the_content_type(content_type, boundary):
    assert boundary_of(content_type) == boundary


@given(st.text(max_size=50))
def test_any_content_type_has_a_boundary_or_none(text):
    boundary_of(text)
    boundary_of(f"multipart/form-data; boundary={text}")
