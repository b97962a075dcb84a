"""Which web pages may ask.  Checked on a request's head, before its key and body, for every path.

A router without keys answers whoever reaches it, and every web page that its user opens can reach
loopback.  So a router without keys refuses:

- a Host that is not a loopback name, because a page can make a name of its own resolve to loopback;
- an Origin of another site, and Sec-Fetch-Site: cross-site.  Pages that loopback serves, on any port,
  are not another site.  One exception: a link to the dashboard's page;
- bodies that a browser sends to other sites without a preflight (CORS calls their types simple).
  `text/plain` is always refused, because no client needs it.  `curl -d` and uploads send a form's
  types or none; these are refused only if the request has an Origin or a Sec-Fetch-* header, which
  every browser adds.

A router with keys needs none of this: a page has only the key that its user gave it.

`server.cors` names origins whose pages may ask and may read the answers.  Keys come in headers, so
credentials (cookies) are never allowed.  The dashboard and the metrics are never shared.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from trio_router.errors import ForbiddenOrigin, UnsupportedMediaType

if TYPE_CHECKING:
    from trio_router.config.schema import CorsConfig

    Headers = list[tuple[bytes, bytes]]  # names in lower case

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{0,5})?")
_LONGEST = 300  # bytes of a Host or Origin that are checked (and may be cached)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_PAGES = frozenset(
    {b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-user"}
)
_EVERYONE = {"*", "null"}  # any page can get the origin null
_OWN_SITE = frozenset({b"same-origin", b"same-site", b"none"})  # "none": typed by the user
_SIMPLE = frozenset({b"", b"application/x-www-form-urlencoded", b"multipart/form-data"})
_NO_TYPE = [(b"content-type", b"")]
_HEALTH = frozenset({"/healthz", "/readyz"})
_DASHBOARD = "/dashboard"
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_MAX_ASKED = 4096  # bytes of header names that a preflight may ask for
_EXPOSED = ", ".join(
    [
        "x-request-id",
        "x-trio-router-target",
        "x-trio-router-attempts",
        "x-trio-router-dropped",
        "x-trio-router-cost",
        "x-trio-router-estimated",
        "x-should-retry",
        "retry-after",
        "content-disposition",
        *(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens")
          for what in ("limit", "remaining", "reset")),
    ]
)  # fmt: skip
_ONLY_LOOPBACK = (
    "no keys are configured, so this router answers to loopback names alone, such as localhost: "
    "set auth.keys to use it by another name"
)
_OTHER_SITE = (
    "no keys are configured, so this router does not answer the pages of other sites: "
    "set auth.keys, or name the page's origin in server.cors"
)
_NOT_SHARED = "server.cors does not name this origin"


class Origins:
    """The rules of one listener.

    `is_any_host` is for a listener that may be reached by other names than loopback's.
    """

    def __init__(self, cors: CorsConfig | None, *, has_keys: bool, is_any_host: bool = False) -> None:
        self._has_keys = has_keys
        self._is_any_host = is_any_host
        self._cors = cors
        origins = set() if cors is None else set(cors.origins)
        if not has_keys:
            origins -= _EVERYONE
        self._is_for_all = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self.is_idle = has_keys and cors is None  # nothing to check, nothing to add

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raises ForbiddenOrigin and UnsupportedMediaType.  Header names are in lower case."""
        if self._has_keys:
            return
        hosts: Headers = []
        kinds: Headers = []
        pages: Headers = []
        for field in headers:
            name = field[0]
            if name == b"host":
                hosts.append(field)
            elif name == b"content-type":
                kinds.append(field)
            elif name in _OF_PAGES:
                pages.append(field)
        if not self._is_any_host:
            _check_host(path, hosts)
        is_listed = bool(pages) and self._check_page(method, path, pages)
        if method == "POST":
            _check_type(path, kinds, is_browser=bool(pages) and not is_listed)

    def _check_page(self, method: str, path: str, pages: Headers) -> bool:
        """Whether the page's origin is in `server.cors`.  Raises ForbiddenOrigin."""
        is_listed = self._listed(pages) is not None
        for name, value in pages:
            if name == b"origin":
                is_good = is_listed or is_loopback_origin(value)
            elif name == b"sec-fetch-site":
                is_good = is_listed or value.lower() in _OWN_SITE or _is_link(method, path, pages)
            else:
                is_good = True
            if not is_good:
                raise ForbiddenOrigin(_OTHER_SITE)
        return is_listed

    def preflight(self, method: str, path: str, headers: Headers) -> dict[str, str] | None:
        """The headers that answer a CORS preflight; None if it is no preflight, or CORS is off.

        Raises ForbiddenOrigin.
        """
        if method != "OPTIONS" or self._cors is None or not _is_shared(path):
            return None
        given = dict(headers)
        if b"origin" not in given or b"access-control-request-method" not in given:
            return None
        if self._listed(headers) is None:
            raise ForbiddenOrigin(_NOT_SHARED)
        answer = {
            "access-control-allow-methods": _METHODS,
            "access-control-max-age": str(self._cors.max_age),
            "vary": "Access-Control-Request-Headers, Access-Control-Request-Private-Network",
        }
        if asked := _asked_headers(headers):
            answer["access-control-allow-headers"] = asked
        if given.get(b"access-control-request-private-network") == b"true":
            answer["access-control-allow-private-network"] = "true"
        return answer

    def answer_headers(self, path: str, headers: Headers) -> dict[str, str]:
        """Headers for every answer to this request, whatever its status."""
        if self._cors is None or not _is_shared(path):
            return {}
        listed = self._listed(headers)
        if self._is_for_all:
            return {"access-control-allow-origin": "*", "access-control-expose-headers": _EXPOSED}
        if listed is None:
            return {"vary": "Origin"}
        return {
            "access-control-allow-origin": listed.decode("latin-1"),
            "access-control-expose-headers": _EXPOSED,
            "vary": "Origin",
        }

    def _listed(self, headers: Headers) -> bytes | None:
        """The request's only origin, if it is in `server.cors`."""
        given = [value for name, value in headers if name == b"origin"]
        if len(given) == 1 and (self._is_for_all or given[0] in self._origins):
            return given[0]
        return None


def _check_host(path: str, hosts: Headers) -> None:
    if len(hosts) == 1 and is_loopback_host(hosts[0][1]):
        return
    if not any(value for _, value in hosts) and path in _HEALTH:
        return  # some health checks in HTTP/1.0 send no Host; every browser does
    if not hosts or not all(is_loopback_host(value) for _, value in hosts):
        raise ForbiddenOrigin(_ONLY_LOOPBACK)


def is_loopback_host(value: bytes) -> bool:
    """Whether a Host header is a loopback name, which nobody can redirect elsewhere."""
    return len(value) <= _LONGEST and _is_loopback_host(value)


def is_loopback_origin(value: bytes) -> bool:
    """Whether an Origin header names a page that this machine serves."""
    scheme, _, host = value.partition(b"://")
    return scheme in (b"http", b"https") and is_loopback_host(host)


@lru_cache(maxsize=512)  # called for every request, with a handful of names
def _is_loopback_host(value: bytes) -> bool:
    found = _HOST.fullmatch(value)
    if found is None:
        return False
    if found[1] is None:
        name = found[2].decode().lower().removesuffix(".")
        if name == "localhost":
            return True
    else:
        name = found[1].decode()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return found[1] is not None and (address.ipv4_mapped or address).is_loopback
    return found[1] is None and address.is_loopback


def _check_type(path: str, kinds: Headers, *, is_browser: bool) -> None:
    for _, kind in kinds or _NO_TYPE:
        if kind == b"application/json":
            continue
        essence = kind.partition(b";")[0].strip().lower()
        if essence == b"text/plain":
            raise UnsupportedMediaType(
                "no keys are configured, so text/plain, which any web page can send, is not taken: "
                "send application/json"
            )
        # The dashboard's login is a form, and checks its origin more strictly itself.
        if is_browser and essence in _SIMPLE and not _is_dashboard(path):
            raise UnsupportedMediaType(
                "no keys are configured, so a page's request needs a content type that pages of other "
                "sites cannot send unasked: send application/json"
            )


def _is_link(method: str, path: str, headers: Headers) -> bool:
    """Whether the user follows a link on another site to the dashboard's page."""
    given = dict(headers)
    return (
        method == "GET"
        and path == _DASHBOARD
        and given.get(b"sec-fetch-mode") == b"navigate"
        and given.get(b"sec-fetch-dest") == b"document"
    )


def _is_dashboard(path: str) -> bool:
    return path == _DASHBOARD or path.startswith(f"{_DASHBOARD}/")


def _is_shared(path: str) -> bool:
    return path != "/metrics" and not path.startswith("/admin/") and not _is_dashboard(path)


def _asked_headers(headers: Headers) -> str:
    """The header names that a preflight asks for, if they are valid; empty if it asks for none."""
    asked = b",".join([v for name, v in headers if name == b"access-control-request-headers"])
    if len(asked) > _MAX_ASKED:
        return ""
    names = [name.strip() for name in asked.split(b",")]
    return ", ".join(name.decode() for name in names if _TOKEN.fullmatch(name))
