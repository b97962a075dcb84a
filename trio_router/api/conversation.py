"""What the responses of one connection said, for those who go on from there.  Without IO."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.hub import as_dict, dicts
from trio_router.wire.jsoncodec import JSONError, loads

Item = dict[str, Any]
_ITEM_DONE = b'"response.output_item.done"'
_ENDS = frozenset({"response.completed", "response.incomplete"})
_MOST = 16  # responses that are remembered
_HEAD = 200  # bytes of an event in which its type stands


class Heard:
    """Reads one response's events as they pass."""

    def __init__(self) -> None:
        self._items: list[bytes] = []
        self._last = b""
        self.size = 0  # bytes of its items

    def add(self, data: bytes) -> None:
        """`data` is one event's."""
        self._last = data
        if _ITEM_DONE in data[:_HEAD]:
            self._items.append(data)
            self.size += len(data)

    def response(self) -> tuple[str, list[Item]] | None:
        """Its id and its output; None if it did not end well."""
        end = _object(self._last)
        response = as_dict(end.get("response"))
        name = response.get("id")
        if end.get("type") not in _ENDS or not isinstance(name, str):
            return None
        output = dicts(response.get("output"))
        if not output:  # some servers tell of it in the items alone
            output = [as_dict(_object(data).get("item")) for data in self._items]
            self.size = self.size or len(self._last)
        return name, output


def _object(data: bytes) -> dict[str, Any]:
    try:
        return as_dict(loads(data))
    except JSONError:
        return {}


class Conversation:
    """The latest responses, each with all that was said up to its end.

    They take at most `most` bytes: the oldest are forgotten first.  Later ones share the items of those
    that they go on from, so it is less in truth.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, tuple[list[Item], int]] = {}

    def before(self, response_id: Any) -> tuple[list[Item], int] | None:
        """All items up to that response's end, and their bytes; None if it is not known."""
        return self._known.get(response_id) if isinstance(response_id, str) else None

    def keep(self, response_id: str, items: list[Item], size: int) -> None:
        """Remembers a response; one that is too large is forgotten at once."""
        self._known.pop(response_id, None)
        self._known[response_id] = items, size
        while len(self._known) > _MOST or sum(s for _, s in self._known.values()) > self._most:
            del self._known[next(iter(self._known))]


def items_of(given: Any) -> list[Item] | None:
    """The input of a request as items; None if it is something else."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if isinstance(given, list) and all(isinstance(item, dict) for item in given):
        return given
    return None
