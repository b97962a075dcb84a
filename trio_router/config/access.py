"""Complaints about who may reach the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.wire.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    Complaint = tuple[tuple[str | int, ...], str]

_SET_A_KEY = "set one under auth.keys, or listen on 127.0.0.1"
NO_KEYS = "can be reached from other machines, and no keys are configured"


def access_complaints(config: dict[str, Any], host: str | None = None) -> Iterator[Complaint]:
    """Complaints, each with its place.  Values of a wrong type are skipped.

    `host` is the address to listen on, if it is not the configuration's.
    """
    server, auth = _mapping(config.get("server")), _mapping(config.get("auth"))
    has_keys = bool(auth.get("keys"))
    listens_on = server.get("host", "127.0.0.1") if host is None else host
    if not has_keys and isinstance(listens_on, str) and not is_loopback(listens_on):
        yield ("server", "host"), f"{listens_on!r} {NO_KEYS}: {_SET_A_KEY}"
    origins = _mapping(server.get("cors")).get("origins")
    for number, origin in enumerate(origins if isinstance(origins, list) else ()):
        if not has_keys and origin in ("*", "null"):
            what = f"{origin!r} lets every web page spend your providers' money"
            yield (
                ("server", "cors", "origins", number),
                f"{what}, for no keys are configured (auth.keys)",
            )
    if _mapping(server.get("metrics")).get("auth") == "admin" and not auth.get("admin_keys"):
        yield ("server", "metrics", "auth"), "admin needs an admin key (auth.admin_keys)"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
