"""Clients' bearer keys, compared in constant time."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from trio_router.errors import Unauthorized
from trio_router.wire.addresses import is_loopback

if TYPE_CHECKING:
    from trio_router.config.schema import AuthConfig


class Authenticator:
    """Finds the name of a request's key.  Without configured keys anyone may ask, on loopback only."""

    def __init__(self, config: AuthConfig) -> None:
        self._keys = [
            (key.name or f"key-{number}", key.key.get_secret_value().encode())
            for number, key in enumerate(config.keys, 1)
        ]

    def check(self, authorization: str | None, server: str | None) -> str | None:
        """The key's name; None where no key is needed.  Raises Unauthorized.

        `server` is the address that the request came in on; None if it has none (a Unix socket).
        """
        if not self._keys:
            if server is None or is_loopback(server):
                return None
            raise Unauthorized("no keys are configured, so only loopback addresses are served")
        token = token_of(authorization or "")
        if token is None:
            raise Unauthorized("no API key given: send it as `Authorization: Bearer KEY`")
        found = self.name_of(token)
        if found is None:
            raise Unauthorized("the API key is not valid")
        return found

    def name_of(self, token: str) -> str | None:
        """The name of the configured key that `token` is."""
        given = token.encode("utf-8", "surrogateescape")
        found = None
        for name, key in self._keys:  # all of them, so that the time reveals nothing
            if hmac.compare_digest(key, given):
                found = name
        return found


def token_of(authorization: str) -> str | None:
    """The bearer key in the header; None if there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None
