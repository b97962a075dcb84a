"""Who may look: admin keys, and the cookie that stands for one.

The cookie holds whose key it was and until when, signed with what is derived from that key: so it is
good with every worker and after a restart, and worthless once the configuration has another key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from trio_router.errors import Forbidden, Unauthorized
from trio_router.transport.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.config.schema import AuthConfig

COOKIE = "trio_router_dashboard"
LIFE = 12 * 3600  # s
NO_ADMIN_KEY = (
    "The dashboard needs an admin key, as clients' keys are configured: "
    "set one under auth.admin_keys in the configuration."
)
NOT_LOOPBACK = (
    "Without auth.admin_keys in the configuration the dashboard is shown on loopback only, "
    "by a loopback name such as localhost."
)


class Admins:
    """The keys of those who may look and stop.  `clock` gives seconds of the epoch."""

    def __init__(self, config: AuthConfig, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._keys = {
            key.name or f"admin-{number}": key.key.get_secret_value().encode()
            for number, key in enumerate(config.admin_keys, 1)
        }
        # Slow on purpose: a cookie that was stolen must not tell a weak key by trying.
        self._signing = {name: _derived(key) for name, key in self._keys.items()}
        self._has_client_keys = bool(config.keys)

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    def admit(self, *, authorization: str, cookies: str, host: str, server: str | None) -> str | None:
        """The name of whose key it is; None where none is needed.

        `host` is the Host header, `server` the address the request came in on.  Raises Unauthorized
        if a key has to be given, Forbidden if none would help.
        """
        if not self._keys:
            if self._has_client_keys:
                raise Forbidden(NO_ADMIN_KEY)
            # The name too: or any web page could reach us by a name of its own that means loopback.
            if (server is not None and not is_loopback(server)) or not is_loopback(_name(host)):
                raise Forbidden(NOT_LOOPBACK)
            return None
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            name = self.name_of(token.strip())
        else:
            name = self._holder(_cookie(cookies))
        if name is None:
            raise Unauthorized("an admin key is needed")
        return name

    def name_of(self, key: str) -> str | None:
        """Whose admin key it is."""
        given = key.encode("utf-8", "surrogateescape")
        found = None
        for name, known in self._keys.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, given):
                found = name
        return found

    def cookie(self, name: str, *, is_secure: bool) -> str:
        """The header that lets `name` in from now on."""
        text = f"{int(self._clock()) + LIFE}.{base64.urlsafe_b64encode(name.encode()).decode()}"
        return _set_cookie(f"{text}.{self._sign(name, text)}", LIFE, is_secure)

    def _holder(self, value: str) -> str | None:
        text, _, signature = value.rpartition(".")
        until, _, encoded = text.partition(".")
        try:
            name = base64.urlsafe_b64decode(encoded.encode()).decode()
        except ValueError:
            return None
        if name not in self._signing or not until.isdecimal() or not signature.isascii():
            return None
        if not hmac.compare_digest(self._sign(name, text), signature):
            return None
        return name if int(until) > self._clock() else None

    def _sign(self, name: str, text: str) -> str:
        return hmac.new(self._signing[name], text.encode(), hashlib.sha256).hexdigest()


def no_cookie(*, is_secure: bool) -> str:
    """The header that takes the cookie away."""
    return _set_cookie("", 0, is_secure)


def is_same_origin(*, site: str, origin: str, host: str) -> bool:
    """Whether a page of ours sent this request: `site` is Sec-Fetch-Site, which no script can set."""
    if site:
        return site == "same-origin"
    return bool(host) and origin.partition("://")[2] == host


def _derived(key: bytes) -> bytes:
    return hashlib.scrypt(key, salt=b"trio-router dashboard", n=1 << 14, r=8, p=1)


def _set_cookie(value: str, life: int, is_secure: bool) -> str:
    secure = "; Secure" if is_secure else ""
    return f"{COOKIE}={value}; Path=/dashboard; Max-Age={life}; HttpOnly; SameSite=Strict{secure}"


def _cookie(header: str) -> str:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
