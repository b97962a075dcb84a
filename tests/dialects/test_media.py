"""Data in a request: base64 of any length, looked at in slices."""

from __future__ import annotations

import base64
import binascii
import tracemalloc

import pytest
from hypothesis import example, given, strategies as st

from trio_router.dialects import media
from trio_router.errors import InvalidRequest
from trio_router.wire import slicing


def is_base64(text: str) -> bool:
    try:
        media.check_base64(text, "data")
    except InvalidRequest:
        return False
    return True


@given(st.text(alphabet="Ab9+/= \n-é", max_size=40))
@example("QUJDREVG")
@example("QUJDRA==")
@example("QQ==QUJD")
@example("QUJDREVGQQ==QUJD")
@example("=")
def test_base64_is_the_same_in_slices(text):
    try:
        whole = bool(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        whole = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicing, "SLICE", 8)
        assert is_base64(text) == whole
        is_image = bool(text) and not text.encode().translate(None, media._ALPHABET)
        assert media.is_base64_image(f"data:image/png;base64,{text}") == is_image


def test_a_long_image_is_not_copied_to_be_checked():
    url = "data:image/png;base64," + base64.b64encode(bytes(15_000_000)).decode()
    tracemalloc.start()
    try:
        assert media.is_base64_image(url)
        assert is_base64(url[22:])
        assert tracemalloc.get_traced_memory()[1] < 21_000_000  # the slice that this test makes
    finally:
        tracemalloc.stop()


def test_a_head_of_very_many_parameters_is_no_data_url():
    url = "data:image/png" + ";" * 5_000_000 + ";base64,QUJD"
    tracemalloc.start()
    try:
        assert not media.is_base64_image(url)
        with pytest.raises(InvalidRequest):
            media.data_url(url, "image")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
