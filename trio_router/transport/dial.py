"""Opening a connection: name, TCP, a proxy's tunnel, TLS."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import trio

from trio_router.transport.faults import ProxyRefusal, is_lasting
from trio_router.transport.http1 import OutgoingHead, ResponseParser
from trio_router.transport.sockets import BROKEN, READ_SIZE, Wire, close_now, wire_over

if TYPE_CHECKING:
    from trio_router.transport.proxy import Proxy

# A wire where the network is no kernel's: then it is used as it is.
Connect = Callable[[str, int], Awaitable[trio.abc.Stream | Wire]]
GetContext = Callable[[], ssl.SSLContext]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads.  `scheme` is http or https, `proxy` None for a direct one."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None = None

    @property
    def authority(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("ascii")


async def dial(origin: Origin, connect: Connect, context: GetContext, limit: float | None) -> Wire:
    """A connection to `origin` within `limit` seconds, None for any time.

    Raises httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError.  Nothing stays open if it
    fails or is cancelled.
    """
    if limit is None:
        return await _dial(origin, connect, context)
    wire: Wire | None = None
    with trio.move_on_after(limit):
        wire = await _dial(origin, connect, context)
    if wire is None:
        raise httpx.ConnectTimeout(f"no connection to {_name(origin)} within {limit} s")
    return wire


async def _dial(origin: Origin, connect: Connect, context: GetContext) -> Wire:
    proxy = origin.proxy
    host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
    try:
        stream = await connect(host, port)
        if isinstance(stream, Wire):
            return stream
        try:
            if proxy is not None and proxy.secure:
                stream = await _start_tls(stream, context(), proxy.host)
            if origin.scheme == "https":
                if proxy is not None:
                    await _open_tunnel(stream, proxy, origin)
                stream = await _start_tls(stream, context(), origin.host)
        except BaseException:
            close_now(stream)
            raise
        return wire_over(stream)
    except (*BROKEN, UnicodeError) as fault:
        raise httpx.ConnectError(f"{_name(origin)}: {_reason(fault)}") from fault


async def _start_tls(stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    # https_compatible: like web servers, we close without TLS's close_notify.
    secure = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    await secure.do_handshake()
    return secure


async def _open_tunnel(stream: trio.abc.Stream, proxy: Proxy, origin: Origin) -> None:
    authority = origin.authority
    headers = [(b"Host", authority), *proxy.headers]
    await stream.send_all(OutgoingHead(b"CONNECT", authority, headers, b"").data)
    answer = ResponseParser(bodyless=True)
    try:
        while not answer.head_complete and answer.fault is None:
            data = await stream.receive_some(READ_SIZE)
            if data:
                answer.receive_data(bytes(data))
            else:
                answer.receive_eof()
    finally:
        answer.close()
    if answer.fault is not None:
        kind = ProxyRefusal if is_lasting(answer.error()) else httpx.ProxyError
        raise kind(f"the proxy's answer: {answer.fault}")
    if not 200 <= answer.status < 300:
        reason = answer.reason.decode("latin-1")
        # A proxy's 5xx means that it could not reach the host.
        kind = ProxyRefusal if answer.status < 500 else httpx.ProxyError
        raise kind(f"the proxy answered {answer.status} {reason}".rstrip())
    if answer.excess:
        raise ProxyRefusal("the proxy sent data after its answer")


def _name(origin: Origin) -> str:
    through = "" if origin.proxy is None else f" through {origin.proxy.host}:{origin.proxy.port}"
    return origin.authority.decode() + through


def _reason(fault: BaseException) -> str:
    """The text of `fault`, with its cause's text if that says more."""
    cause = fault.__cause__
    if isinstance(cause, ssl.SSLError):
        return str(cause)
    text = str(fault) or type(fault).__name__
    if isinstance(cause, BaseExceptionGroup):  # one fault for each address that was tried
        text += f" ({'; '.join(dict.fromkeys(map(str, cause.exceptions)))})"
    return text
