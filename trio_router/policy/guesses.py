"""Wrong keys, counted for each client address.  Pure: the time is passed in."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

_AT_ONCE = 10  # wrong keys that one address may send in a burst
_EACH = 6.0  # s after which it may send one more
_REMEMBERED = 10_000  # addresses


class Guesses:
    """Says how long an address has to wait until its next key is checked.

    It does not wait itself, and no address waits for another's guesses.  An IPv6 address counts as its
    /64 network, because whoever has one address of it has them all.
    """

    def __init__(self) -> None:
        # When all wrong keys of the address are forgiven; the latest offender stands last.
        self._forgiven: OrderedDict[str, float] = OrderedDict()

    def wait(self, client: str | None, now: float) -> float:
        """Seconds until a key from `client` is checked; 0: it is checked now."""
        forgiven = self._forgiven.get(_origin(client), 0.0)
        return max(0.0, forgiven - now - (_AT_ONCE - 1) * _EACH)

    def wrong(self, client: str | None, now: float) -> None:
        """Counts a wrong key."""
        origin = _origin(client)
        self._forgiven[origin] = max(now, self._forgiven.get(origin, 0.0)) + _EACH
        self._forgiven.move_to_end(origin)
        while len(self._forgiven) > _REMEMBERED or next(iter(self._forgiven.values())) <= now:
            self._forgiven.popitem(last=False)


def _origin(client: str | None) -> str:
    """The key of the count; clients without an address (a Unix socket) count together."""
    try:
        address = ipaddress.ip_address((client or "").partition("%")[0])
    except ValueError:
        return ""
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
