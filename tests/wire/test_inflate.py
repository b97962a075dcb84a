"""Compressed bodies: bounded slices, one coding, the same bytes whatever the cuts."""

from __future__ import annotations

import gzip
import time
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts
from trio_router.wire.inflate import InflateError, Inflater, coding_of


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare)]


def slices(coding, pieces):
    inflater = Inflater(coding)
    made = []
    for piece in pieces:
        inflater.receive_data(piece)
        while (out := inflater.step()) is not None:
            made.append(out)
    return made, inflater.is_whole


@pytest.mark.parametrize(("coding", "pack"), PACKERS)
@given(data=st.binary(max_size=300), offsets=cuts(300))
def test_what_was_packed_comes_out_at_any_cuts(coding, pack, data, offsets):
    made, is_whole = slices(coding, at_offsets(pack(data), offsets))
    assert b"".join(made) == data
    assert is_whole


@pytest.mark.parametrize(("coding", "pack"), PACKERS)
def test_no_slice_is_longer_than_64_kib_and_nothing_is_inflated_before_it_is_asked_for(coding, pack):
    packed = pack(bytes(50_000_000))
    inflater = Inflater(coding)
    inflater.receive_data(packed)
    longest = 0.0
    sizes = []
    while True:
        began = time.process_time()
        out = inflater.step()
        longest = max(longest, time.process_time() - began)
        if out is None:
            break
        sizes.append(len(out))
    assert max(sizes) <= 65536
    assert sum(sizes) == 50_000_000
    assert inflater.is_whole
    assert longest < 0.02


@pytest.mark.parametrize(("coding", "pack"), PACKERS)
def test_a_body_that_is_cut_is_not_whole(coding, pack):
    packed = pack(b"hello" * 1000)
    for cut in range(1, len(packed)):
        assert not slices(coding, [packed[:cut]])[1]


def test_a_body_without_a_byte_is_whole():
    assert slices("gzip", []) == ([], True)


def test_several_gzip_streams_are_one_body_and_what_is_none_after_them_is_no_part_of_it():
    packed = gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(b"b")
    for rest in (b"", b"\0\0\0", b"rubbish"):
        made, is_whole = slices("gzip", at_offsets(packed + rest, list(range(1, len(packed)))))
        assert (b"".join(made), is_whole) == (b"ab", True)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@given(data=st.binary(min_size=2, max_size=100))
def test_any_bytes_are_the_coding_or_refused(coding, data):
    with suppress(InflateError):
        slices(coding, [data])


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], ""),
        (["identity"], ""),
        (["GZIP"], "gzip"),
        (["x-gzip"], "gzip"),
        (["identity, deflate", ""], "deflate"),
    ],
)
def test_one_coding_is_known(values, coding):
    assert coding_of(values) == coding


@pytest.mark.parametrize(
    "values", [["gzip, gzip"], ["gzip", "deflate"], ["br"], ["zstd"], ["gzip;q=1"], ["gzip," * 1000]]
)
def test_every_other_is_refused(values):
    with pytest.raises(InflateError):
        coding_of(values)
