"""Which proxy a request uses, from the usual environment variables."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import getproxies

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.  `secure` says that the connection to the proxy itself uses TLS.

    `authorization` is the value of Proxy-Authorization; None without a user name.
    """

    host: str
    port: int
    secure: bool = False
    authorization: bytes | None = None

    @classmethod
    def from_url(cls, text: str) -> Proxy:
        """Raises httpx.UnsupportedProtocol for anything but a URL of http or https."""
        try:
            url = httpx.URL(text if "://" in text else f"http://{text}")
        except httpx.InvalidURL:  # its message may quote a part of the password
            raise httpx.UnsupportedProtocol("the proxy's URL cannot be read") from None
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"proxies of scheme {url.scheme!r} are not supported")
        secure = url.scheme == "https"
        authorization = None
        if url.username or url.password:
            pair = f"{url.username}:{url.password}".encode()
            authorization = b"Basic " + base64.b64encode(pair)
        port = url.port or (443 if secure else 80)
        return cls(url.raw_host.decode("ascii"), port, secure, authorization)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers for the proxy itself."""
        if self.authorization is None:
            return []
        return [(b"Proxy-Authorization", self.authorization)]


class ProxyTable:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, each a name as in the `proxies` mapping:
    http, https, all, no.

    NO_PROXY is a list of host names (each with its subdomains), addresses and networks, each with
    or without a port; `*` is every host.
    """

    def __init__(self, proxies: Mapping[str, str]) -> None:
        self._urls = {name: url for name, url in proxies.items() if url}
        self._direct = [_Exception(entry) for entry in _entries(self._urls.pop("no", ""))]
        self._known: dict[str, Proxy] = {}

    @classmethod
    def from_environment(cls) -> ProxyTable:
        return cls(getproxies())

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """None for a direct connection.  Raises httpx.UnsupportedProtocol."""
        url = self._urls.get(scheme) or self._urls.get("all")
        if url is None or any(entry.matches(host, port) for entry in self._direct):
            return None
        if url not in self._known:
            self._known[url] = Proxy.from_url(url)
        return self._known[url]


class _Exception:
    """One entry of NO_PROXY."""

    def __init__(self, entry: str) -> None:
        host, port = _split_port(entry.lower())
        self._port = port
        self._host = host.removeprefix("*").removeprefix(".")
        self._every = host == "*"
        self._network = _network(host)

    def matches(self, host: str, port: int) -> bool:
        if self._port is not None and self._port != port:
            return False
        if self._every or host == self._host or host.endswith("." + self._host):
            return True
        return self._network is not None and _is_within(host, self._network)


def _entries(text: str) -> list[str]:
    return [entry for part in text.split(",") if (entry := part.strip())]


def _split_port(entry: str) -> tuple[str, int | None]:
    entry = entry.partition("://")[2] or entry
    host, _, port = entry.rpartition(":")
    if port.isdigit() and host and (":" not in host or host.endswith("]")):
        return host.strip("[]"), int(port)
    return entry.strip("[]"), None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_within(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False
