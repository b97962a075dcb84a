"""What several test files need."""

from __future__ import annotations

import base64
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CORPUS = Path(os.environ.get("TRIO_ROUTER_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))


def corpus(name: str) -> list[dict[str, Any]]:
    """The records of a corpus file; the test is skipped where the corpus is absent."""
    path = CORPUS / name
    if not path.exists():
        pytest.skip(f"{name}: the corpus of recorded streams is not here")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def raw(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["input_b64"])


def at_offsets(data: bytes, offsets: Iterable[int]) -> list[bytes]:
    """`data` cut at the given offsets; equal neighbours give empty pieces."""
    places = [0, *sorted(min(o, len(data)) for o in offsets), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def every_size(data: bytes, sizes: Iterable[int] = (1, 2, 3, 7, 64)) -> Iterator[list[bytes]]:
    """`data` whole, and cut into pieces of each size."""
    yield [data]
    for size in sizes:
        yield [data[i : i + size] for i in range(0, len(data), size)]


def feed(receive: Callable[[bytes], list[Any]], pieces: Iterable[bytes]) -> list[Any]:
    return [item for piece in pieces for item in receive(piece)]


def cuts(max_size: int = 400) -> st.SearchStrategy[list[int]]:
    """Offsets to cut some bytes at."""
    return st.lists(st.integers(0, max_size), max_size=12)
