"""The two ways in which `streamGenerateContent` gives its records: as events, and as an array.

Google's SDKs read one line of `data:` an event, and take any other line for an error in JSON: so there
are no comments, and blank lines bridge silence, which mean nothing in either framing.
"""

from __future__ import annotations

from typing import Protocol

SILENCE = b"\n"
ARRAY_END = b"\n]"


class Framing(Protocol):
    """Of one stream."""

    def frame(self, record: bytes) -> bytes:
        """`record` is JSON, which stays byte for byte but for line ends between its values."""
        ...

    def end(self) -> bytes: ...


class EventFraming:
    """`alt=sse`."""

    def frame(self, record: bytes) -> bytes:
        if b"\n" in record or b"\r" in record:
            record = record.replace(b"\r", b"").replace(b"\n", b" ")
        return b"data: %b\n\n" % record

    def end(self) -> bytes:
        return b""


class ArrayFraming:
    """`[{...},\\n{...}]`, the API's own default."""

    def __init__(self) -> None:
        self._has_begun = False

    def frame(self, record: bytes) -> bytes:
        before = b",\r\n" if self._has_begun else b"["
        self._has_begun = True
        return before + record

    def end(self) -> bytes:
        return ARRAY_END if self._has_begun else b"[]"
