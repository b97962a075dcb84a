"""The API keys of one provider, skipping those that were refused or rate-limited.

They are used in turn; but the requests of one conversation have the same key, as long as it is ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.config.routes import CooldownConfig
from trio_router.routing import balance
from trio_router.routing.circuit import Circuit
from trio_router.routing.rest import MOST_TOLD, Rest

if TYPE_CHECKING:
    from collections.abc import Sequence

# A refused key rarely becomes valid within minutes, and each try with it delays a request.
_REFUSED = CooldownConfig(failures=1, base=30, max=1200)


class KeyRing:
    """The state of keys, which are known by their index.

    `names` tell them apart, also from one configuration or machine to another.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._circuits = [Circuit(_REFUSED) for _ in names]
        self._rests = [Rest() for _ in names]
        self._weights = [1.0] * len(names)
        self._next = 0

    def __len__(self) -> int:
        return len(self._circuits)

    def pick(self, now: float, conversation: str | None = None, first: str | None = None) -> int:
        """The index of the key to use; if none is ready, of the one that is ready soonest.

        That is the key called `first`, then the one of the conversation, else the next one in turn.
        """
        for index in self._order(conversation, first):
            if self._is_ready(index, now):
                if conversation is None:
                    self._next = index + 1
                self._rests[index].enter(now, MOST_TOLD)
                return index
        return min(range(len(self)), key=lambda index: self._wait(index, now))

    def _order(self, conversation: str | None, first: str | None) -> list[int]:
        if conversation is None:
            order = [(self._next + step) % len(self) for step in range(len(self))]
        else:
            order = balance.sticky(conversation, self.names, self._weights)
        if first is not None and first in self.names:
            order.sort(key=lambda index: self.names[index] != first)
        return order

    def has_ready(self, now: float) -> bool:
        return any(self._is_ready(index, now) for index in range(len(self)))

    def refused(self, index: int, now: float) -> None:
        """The provider has refused this key (401, 403): it gets a cooldown."""
        circuit = self._circuits[index]
        circuit.failed(now, probe=circuit.enter(now))

    def rest(self, index: int, now: float, seconds: float) -> None:
        """This key is rate-limited for `seconds` (429)."""
        self._rests[index].ask(now, seconds)

    def accepted(self, index: int, now: float, began: float) -> None:
        """The provider accepted the key for a request that began at `began`."""
        self._circuits[index].succeeded(now)
        self._rests[index].end(began)

    def _is_ready(self, index: int, now: float) -> bool:
        return self._rests[index].wait(now, MOST_TOLD) <= 0 and self._circuits[index].may_ask(now)

    def _wait(self, index: int, now: float) -> float:
        circuit = self._circuits[index]
        return max(self._rests[index].wait(now, MOST_TOLD), (circuit.open_until or now) - now)
