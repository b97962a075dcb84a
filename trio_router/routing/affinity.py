"""Affinity: the requests of one conversation go to the same target, with the same key of its provider.

Providers keep the beginning of a prompt in a cache, and some keep whole responses, or seal reasoning
that only they can open.  Where a conversation goes is computed from what identifies it
(`balance.sticky`).  So all workers and machines with the same configuration choose alike, and nothing
has to be remembered.  Only a stored response has to be found again by its id.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_MOST_STORED = 10_000  # responses whose place is remembered


@dataclass(frozen=True, slots=True)
class Affinity:
    """What a request has in common with others.

    `conversation` identifies the conversation; where the route's strategy is an order of preference,
    it chooses the key alone.  `sticky` is what the route's own `sticky` names; it counts in every
    strategy.  `continues` is the id of a response that its provider has stored.
    """

    conversation: str | None = None
    sticky: str | None = None
    continues: str | None = None

    @property
    def of_keys(self) -> str | None:
        return self.sticky or self.conversation


NO_AFFINITY = Affinity()


@dataclass(frozen=True, slots=True)
class Place:
    """Who has a stored response: a target, and a key of its provider, by their names."""

    target: str
    key: str | None


class StoredResponses:
    """Where the latest responses are that their providers have stored, by their ids."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, Place] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, response: str, place: Place) -> None:
        self._places[response] = place
        self._places.move_to_end(response)
        if len(self._places) > _MOST_STORED:
            self._places.popitem(last=False)

    def find(self, response: str | None) -> Place | None:
        """None for a response that came from elsewhere, or too long ago."""
        return None if response is None else self._places.get(response)
