"""Bodies in zstd: bounded steps, the same bytes whatever the cuts."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts
from trio_router.wire.inflate import InflateError
from trio_router.wire.unzstd import Unzstd

zstandard = pytest.importorskip("zstandard")

MOST = 1 << 21  # bytes of one step


def pack(data: bytes, **options) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def steps(pieces) -> tuple[list[bytes], bool]:
    undoing, made = Unzstd(), []
    for piece in pieces:
        undoing.receive_data(piece)
        while (out := undoing.step()) is not None:
            made.append(out)
    return made, undoing.is_whole


@given(data=st.binary(max_size=300), offsets=cuts(300))
def test_what_was_packed_comes_out_at_any_cuts(data, offsets):
    made, is_whole = steps(at_offsets(pack(data), offsets))
    assert (b"".join(made), is_whole) == (data, True)


def test_several_frames_are_one_body():
    made, is_whole = steps([pack(b"one ") + pack(b"two ") + pack(b"three")])
    assert (b"".join(made), is_whole) == (b"one two three", True)


@pytest.mark.parametrize("level", [1, 19])
def test_a_bomb_goes_off_in_small_steps(level):
    packed = pack(bytes(200_000_000), level=level)
    assert len(packed) < 50_000
    made, is_whole = steps([packed])
    assert sum(map(len, made)) == 200_000_000
    assert is_whole
    assert max(map(len, made)) <= MOST


def test_long_text_comes_in_steps_of_about_64_kib():
    text = b"".join(b"%d;" % (n * 7919) for n in range(200_000))
    made, _ = steps([pack(text)])
    assert b"".join(made) == text
    assert max(map(len, made)) < 400_000


@pytest.mark.parametrize("packed", [b"plain text", pack(b"a" * 100)[:10] + b"\xff" * 90, b"\x28\xb5"])
def test_what_is_no_zstd_is_an_error_or_not_whole(packed):
    try:
        _, is_whole = steps([packed])
    except InflateError:
        return
    assert not is_whole


def test_what_is_cut_off_is_not_whole():
    packed = pack(bytes(range(256)) * 400)
    for end in (1, 4, len(packed) // 2, len(packed) - 1):
        assert not steps([packed[:end]])[1]
    assert steps([b""])[1]


def test_a_window_that_no_http_client_may_ask_for_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    maker = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = maker.compress(b"a" * 100) + maker.flush()
    with pytest.raises(InflateError):
        steps([packed])
