"""What the hub's messages and deltas hold, read leniently: providers fill them in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trio_router.wire.jsoncodec import dumps


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in an array; whatever else it is, none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def legacy_call(message: dict[str, Any]) -> dict[str, Any]:
    """A call of the old kind, if there is one: Snowflake puts an empty one in every message."""
    call = as_dict(message.get("function_call"))
    return call if call.get("name") or call.get("arguments") else {}


def text_of(content: Any) -> tuple[str, str]:
    """Text and reasoning in a content that may be an array of parts (Mistral's reasoning models).

    Cloudflare's JSON mode gives the object itself; any such value is its JSON.
    """
    if isinstance(content, str):
        return content, ""
    if content is not None and not isinstance(content, list):
        return dumps(content).decode(), ""
    text = thinking = ""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thinking += text_of(part.get("thinking"))[0]
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            text += part["text"]
    return text, thinking


@dataclass(slots=True)
class _Known:
    number: int
    id: str
    is_named: bool = False


class CallSorter:
    """Which call a piece of one belongs to.

    Some providers give calls no index, some the same one to every call, some no id.
    """

    def __init__(self) -> None:
        self._by_index: dict[int | str, _Known] = {}
        self._by_id: dict[str, _Known] = {}
        self._last: _Known | None = None
        self.count = 0

    def number(self, index: Any, given: Any, *, has_name: bool) -> int:
        """The call's number, from 0 in the order of their beginnings; `given` is the piece's id."""
        place = index if isinstance(index, int | str) else None
        name = given if isinstance(given, str) else ""
        known = self._find(place, name, has_name)
        if known is None:
            known = _Known(self.count, name)
            self.count += 1
        known.is_named = known.is_named or has_name
        if name:
            self._by_id[name] = known
        if place is not None:
            self._by_index[place] = known
        self._last = known
        return known.number

    def _find(self, place: int | str | None, given: str, has_name: bool) -> _Known | None:
        known = self._by_id.get(given) if given else None
        if known is not None:
            return known
        if place is not None:
            known = self._by_index.get(place)
            if known is not None and given and has_name and known.is_named and given != known.id:
                return None
            return known
        return self._last if not given and not has_name else None
