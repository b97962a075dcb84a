"""The keys of one provider: each in its turn, and none that was refused lately."""

from __future__ import annotations

from trio_router.config.routes import CooldownConfig
from trio_router.routing.circuit import Circuit

# A refused key is rarely mended within minutes, and asking with it costs the request some time.
_REFUSED = CooldownConfig(failures=1, base=30, max=900)


class KeyRing:
    """Keys by their number."""

    def __init__(self, count: int) -> None:
        self._circuits = [Circuit(_REFUSED) for _ in range(count)]
        self._rests = [0.0] * count
        self._next = 0

    def __len__(self) -> int:
        return len(self._circuits)

    def pick(self, now: float) -> int:
        """Whose turn it is; if no key is ready, the one that will be first."""
        for step in range(len(self)):
            index = (self._next + step) % len(self)
            if self._is_ready(index, now):
                self._next = index + 1
                return index
        return min(range(len(self)), key=self._ready_at)

    def has_ready(self, now: float) -> bool:
        return any(self._is_ready(index, now) for index in range(len(self)))

    def refused(self, index: int, now: float) -> None:
        """The provider does not take this key."""
        self._circuits[index].failed(now, is_probe=True)

    def rest(self, index: int, until: float) -> None:
        """This key has used up its rate."""
        self._rests[index] = max(self._rests[index], until)

    def accepted(self, index: int, now: float) -> None:
        self._circuits[index].succeeded(now)

    def _is_ready(self, index: int, now: float) -> bool:
        return self._rests[index] <= now and self._circuits[index].may_ask(now)

    def _ready_at(self, index: int) -> float:
        return max(self._rests[index], self._circuits[index].open_until or 0.0)
