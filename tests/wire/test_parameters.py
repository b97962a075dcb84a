"""Headers' parameters: read in a time that grows with their length and no faster."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from trio_router.wire.multipart import FieldRewriter, MultipartError, boundary_of
from trio_router.wire.parameters import parameters

NASTY = [
    b';\\"',
    b";a=",
    b';"',
    b"; ",
    b';a="\\',
    b";a*=utf-8''%",
    b"=",
    b'"',
    b"\\",
    b";name*0=a",
    b"\t ",
]


@pytest.mark.parametrize(
    ("value", "kind", "given"),
    [
        ("form-data", "form-data", {}),
        ('Form-Data; Name="a b" ; x = 1', "form-data", {"name": "a b", "x": "1"}),
        (r'a; n="x\"y\\z"; m=2', "a", {"n": 'x"y\\z', "m": "2"}),
        ('a; n="x;y=z"; n=2', "a", {"n": "x;y=z"}),
        ('a; n="no end; m=2', "a", {"n": "no end; m=2"}),
        ("a; n*=utf-8'de'%e4%bd%a0", "a", {"n": "你"}),
        ("a; n*=idna''%ff", "a", {"n": ""}),
        ("a; n*=utf-8''%ff", "a", {"n": ""}),
        ("a; n*=no-such-charset''a", "a", {"n": ""}),
        ("a; n*=text", "a", {"n": ""}),
        ("a;;; ;b", "a", {"b": ""}),
        (";", "", {}),
    ],
)
def test_parameters_are_read_as_http_writes_them(value, kind, given):
    assert parameters(value) == (kind, given)


@given(st.text(alphabet=";=\"\\*' \t\r\n%ab\xff", max_size=60))
def test_any_text_has_parameters_or_none(text):
    parameters(text)


@pytest.mark.parametrize(
    "charset", ["idna", "punycode", "zip", "hex", "rot13", "utf-7", "unicode_escape"]
)
def test_a_charset_that_no_header_may_have_is_no_boundary(charset):
    for text in ("", "a", "%ff", "xn--a", "a" * 200):
        assert boundary_of(f"multipart/form-data; boundary*={charset}''{text}") is None


@pytest.mark.parametrize("unit", NASTY)
def test_a_long_content_type_is_read_at_once(unit):
    value = "multipart/form-data" + (unit * (120_000 // len(unit))).decode()
    began = time.process_time()
    boundary_of(value)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("unit", NASTY)
def test_a_form_of_such_heads_is_read_at_once(unit):
    """Three megabytes of the longest heads."""
    disposition = b"form-data" + (unit * 16384)[:16000]
    head = b"--xYz\r\ncontent-disposition: " + disposition.replace(b"\n", b"") + b"\r\n\r\n\r\n"
    rewriter = FieldRewriter(b"xYz", "model", str)
    began = time.process_time()
    for _ in range(180):
        try:
            rewriter.receive_data(head)
        except MultipartError:
            rewriter = FieldRewriter(b"xYz", "model", str)
    assert time.process_time() - began < 2


def test_a_read_with_many_parts_is_not_copied_for_each():
    part = b"--x\r\n\r\n" + b"a" * 4000 + b"\r\n"
    rewriter = FieldRewriter(b"x", "model", str)
    body = part * 900
    began = time.process_time()
    assert len(rewriter.receive_data(body)) >= len(body) - 10
    assert time.process_time() - began < 0.3


def test_a_form_of_very_many_parts_is_refused():
    rewriter = FieldRewriter(b"x", "model", str)
    with pytest.raises(MultipartError, match="more than 1000 parts"):
        rewriter.receive_data(b"--x\r\n\r\n\r\n" * 5000)
