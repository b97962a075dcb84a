"""What stands between an answer's reader and the client's encoder.

    bytes -> AnswerReader -> taps -> translator's encoder -> frames

A translator takes the taps as an argument.  Without taps it reads from the reader itself, so that
what is off costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.answer import AnswerReader, Item


class Tap(Protocol):
    """Sees every item of one answer once, in order, before the client does."""

    def take(self, items: list[Item], reader: AnswerReader, *, at_end: bool) -> list[Item]:
        """What of `items` goes on: to the next tap, then to the client.  The tap may change them.

        It is called after each read, with what the read completed, which may be nothing.  `at_end` is
        True in the last call for an answer that came to a good end.  A tap that finds the rest of
        the answer worthless gives on what is good before that, and tells `reader.refuse` why.
        """
        ...


class ItemSource(Protocol):
    """What a translator reads items from.  See AnswerReader."""

    def receive_data(self, data: bytes) -> list[Item]: ...

    def receive_eof(self, *, clean: bool = True) -> list[Item]: ...


def tapped(reader: AnswerReader, taps: Sequence[Tap]) -> ItemSource:
    """The items of `reader` behind all `taps`."""
    return _Tapped(reader, taps) if taps else reader


class _Tapped:
    def __init__(self, reader: AnswerReader, taps: Sequence[Tap]) -> None:
        self._reader = reader
        self._taps = taps

    def receive_data(self, data: bytes) -> list[Item]:
        items = self._reader.receive_data(data)
        return self._through(items, at_end=self._reader.is_done)

    def receive_eof(self, *, clean: bool = True) -> list[Item]:
        items = self._reader.receive_eof(clean=clean)
        return self._through(items, at_end=self._reader.failure is None)

    def _through(self, items: list[Item], *, at_end: bool) -> list[Item]:
        for tap in self._taps:
            items = tap.take(items, self._reader, at_end=at_end)
        return items
