"""Network addresses, as text."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=1024)  # called for every request, with a handful of addresses
def is_loopback(host: str) -> bool:
    """Whether `host` (an address, or `localhost`) can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
