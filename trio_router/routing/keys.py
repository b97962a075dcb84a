"""The API keys of one provider: used in turn, skipping those that were refused or rate-limited."""

from __future__ import annotations

from trio_router.config.routes import CooldownConfig
from trio_router.routing.circuit import Circuit
from trio_router.routing.rest import MOST_TOLD, Rest

# A refused key rarely becomes valid within minutes, and each try with it delays a request.
_REFUSED = CooldownConfig(failures=1, base=30, max=1200)


class KeyRing:
    """The state of `count` keys, which are known by their index."""

    def __init__(self, count: int) -> None:
        self._circuits = [Circuit(_REFUSED) for _ in range(count)]
        self._rests = [Rest() for _ in range(count)]
        self._next = 0

    def __len__(self) -> int:
        return len(self._circuits)

    def pick(self, now: float) -> int:
        """The index of the next key in turn; if none is ready, of the one that is ready soonest."""
        for step in range(len(self)):
            index = (self._next + step) % len(self)
            if self._is_ready(index, now):
                self._next = index + 1
                self._rests[index].enter(now, MOST_TOLD)
                return index
        return min(range(len(self)), key=lambda index: self._wait(index, now))

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
