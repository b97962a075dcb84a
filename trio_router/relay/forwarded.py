"""The client's own headers that reach an upstream of the same API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.dialects.base import NativeApi
    from trio_router.routing.target import Target

_BETAS = "anthropic-beta"


def forwarded(api: NativeApi, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those of `headers` that belong to `api`.  One that comes several times is one list."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in api.forwarded:
            key, text = name.decode(), value.decode("latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
    return found


def allowed(headers: dict[str, str], target: Target) -> dict[str, str]:
    """`headers` without the betas that `target` would refuse; unchanged where it takes any."""
    if target.betas is None or _BETAS not in headers:
        return headers
    asked = [beta.strip() for beta in headers[_BETAS].split(",")]
    kept = ",".join(beta for beta in asked if beta in target.betas)
    rest = {name: value for name, value in headers.items() if name != _BETAS}
    return {**rest, _BETAS: kept} if kept else rest
