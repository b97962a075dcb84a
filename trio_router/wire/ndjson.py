"""Newline-delimited JSON: a record a line, LF ends it, one CR before the LF is dropped."""

from __future__ import annotations

from trio_router.wire.lines import LineBuffer, LineTooLongError


class NDJSONDecoder:
    """Bytes in any pieces -> records, as bytes.  Blank lines are skipped.

    A record of more than `limit` bytes raises LineTooLongError.
    """

    def __init__(self, limit: int) -> None:
        self._lines = LineBuffer(limit, lf_only=True)

    def receive_data(self, data: bytes) -> list[bytes]:
        """The records that `data` completes."""
        try:
            return _records(self._lines.receive_data(data))
        except LineTooLongError as fault:
            raise LineTooLongError(fault.limit, _records(fault.before)) from None

    def receive_eof(self) -> list[bytes]:
        """The record that came without its line end, if one did."""
        rest = _strip(self._lines.receive_eof() or b"")
        return [rest] if rest.strip() else []


def _records(lines: list[bytes]) -> list[bytes]:
    return [line for raw in lines if (line := _strip(raw)).strip()]


def _strip(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


def encode_line(record: bytes) -> bytes:
    """The line of one record (which must hold no LF)."""
    return record + b"\n"
