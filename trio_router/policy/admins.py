"""Admin keys, and the cookie that replaces one.

The cookie holds the key's name and its expiry, signed with a secret derived from that key.  So it is
valid with every worker and after a restart, and invalid once the configuration has another key.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from itsdangerous import BadData, URLSafeSerializer

from trio_router.errors import Forbidden, TooManyGuesses, Unauthorized
from trio_router.policy.guesses import Guesses
from trio_router.wire.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.config.schema import AuthConfig

logger = logging.getLogger("trio_router")
COOKIE = "trio_router_dashboard"
LIFE = 12 * 3600  # s
NO_ADMIN_KEY = (
    "The dashboard needs an admin key, as clients' keys are configured: "
    "set one under auth.admin_keys in the configuration."
)
NOT_LOOPBACK = "Without auth.admin_keys in the configuration the dashboard is shown on loopback only."


class Admins:
    """The keys of administrators, who may see and stop requests.

    `clock` gives seconds of the epoch, `ticks` seconds that never go back.
    """

    def __init__(
        self,
        config: AuthConfig,
        clock: Callable[[], float],
        ticks: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._ticks = ticks
        self._guesses = Guesses()
        self._keys = {
            key.name or f"admin-{number}": key.key.get_secret_value().encode()
            for number, key in enumerate(config.admin_keys, 1)
        }
        # Slow on purpose: a stolen cookie must not help to guess a weak key.
        self._cookies = {name: _signing_with(_derived(key)) for name, key in self._keys.items()}
        self._has_client_keys = bool(config.keys)

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    def admit(
        self,
        *,
        authorization: str,
        cookies: str,
        server: str | None,
        client: str | None = None,
    ) -> str | None:
        """The name of the key; None where no key is needed.

        `server` is the address that the request came in on, `client` the one it comes from.  Raises
        Unauthorized if a key is needed, Forbidden if no key would help, and TooManyGuesses as `check`
        does.  (`policy/origins.py` checks the Host and the Origin of every request.)
        """
        if not self._keys:
            if self._has_client_keys:
                raise Forbidden(NO_ADMIN_KEY)
            if server is not None and not is_loopback(server):
                raise Forbidden(NOT_LOOPBACK)
            return None
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            name = self.check(token.strip(), client)
        else:
            name = self._holder(_cookie(cookies))
        if name is None:
            raise Unauthorized("an admin key is needed")
        return name

    def check(self, key: str, client: str | None) -> str | None:
        """Like `name_of`, for a key that came from the address `client`.

        Logs a wrong key.  After too many wrong keys it raises TooManyGuesses without checking the key.
        """
        now = self._ticks()
        if wait := self._guesses.wait(client, now):
            raise TooManyGuesses(
                "too many wrong admin keys came from this address",
                retry_after=str(math.ceil(wait)),
            )
        name = self.name_of(key)
        if name is None:
            self._guesses.wrong(client, now)
            is_last = self._guesses.wait(client, now) > 0
            fields = {"client": client, "refused_for_now": is_last}
            logger.warning("a wrong admin key was given", extra={"fields": fields})
        return name

    def name_of(self, key: str) -> str | None:
        """The name of an admin key; None if it is wrong."""
        given = key.encode("utf-8", "surrogateescape")
        found = None
        for name, known in self._keys.items():  # all of them, so that the time reveals nothing
            if hmac.compare_digest(known, given):
                found = name
        return found

    def cookie(self, name: str, *, is_secure: bool) -> str:
        """The header that sets the cookie of `name`."""
        until = int(self._clock()) + LIFE
        return _set_cookie(str(self._cookies[name].dumps([name, until])), LIFE, is_secure)

    def _holder(self, value: str) -> str | None:
        """The name that a cookie's value stands for; None if it is none of ours, or has expired."""
        for name, cookies in self._cookies.items():
            with suppress(BadData):  # another key signed it, if any did
                holder, until = cookies.loads(value)
                if holder == name and until > self._clock():
                    return name
        return None


def no_cookie(*, is_secure: bool) -> str:
    """The header that deletes the cookie."""
    return _set_cookie("", 0, is_secure)


def is_same_origin(*, site: str, origin: str, host: str) -> bool:
    """Whether a page of ours sent the request.  `site` is Sec-Fetch-Site, which no script can set."""
    if site:
        return site == "same-origin"
    return bool(host) and origin.partition("://")[2] == host


def _derived(key: bytes) -> bytes:
    return hashlib.scrypt(key, salt=b"trio-router dashboard", n=1 << 14, r=8, p=1)


def _signing_with(secret: bytes) -> URLSafeSerializer:
    # Not the timed one, which has a clock of its own and refuses what was signed a second ahead of it.
    sha256 = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeSerializer(secret, COOKIE, signer_kwargs=sha256)


def _set_cookie(value: str, life: int, is_secure: bool) -> str:
    secure = "; Secure" if is_secure else ""
    return f"{COOKIE}={value}; Path=/dashboard; Max-Age={life}; HttpOnly; SameSite=Strict{secure}"


def _cookie(header: str) -> str:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
