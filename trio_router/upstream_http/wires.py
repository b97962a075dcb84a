"""Two kinds of connection with one small face: a plain socket, and any trio stream."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    import ssl

_READ = 65536  # bytes a read


class Wire(Protocol):
    """A connection.  OSError and trio.BrokenResourceError mean that it is lost."""

    async def receive(self) -> bytes:
        """What one read gives; empty at the peer's end."""
        ...

    async def send(self, data: bytes) -> None: ...

    def looks_alive(self) -> bool:
        """Whether an idle connection may be used again: nothing came, not even an end."""
        ...

    async def close(self) -> None:
        """Closes at once, without goodbye, also when cancelled."""
        ...


class SocketWire:
    """A plain TCP socket, with one system call and one pass of the scheduler a read."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket
        self._fd = stream.socket.fileno()

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return os.read(self._fd, _READ)
            except BlockingIOError:
                continue

    async def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._fd)

    def looks_alive(self) -> bool:
        try:
            os.read(self._fd, 1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # an end, or bytes nobody asked for

    async def close(self) -> None:
        self._fd = -1
        self._socket.close()


class StreamWire:
    """Any trio stream: TLS, or memory in tests."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        return bytes(await self._stream.receive_some(_READ))

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    def looks_alive(self) -> bool:
        stream = self._stream
        if not isinstance(stream, trio.SSLStream):
            return True
        below = stream.transport_stream
        if not isinstance(below, trio.SocketStream):
            return True
        try:
            return not _has_ended(below.socket)
        except OSError:
            return False

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


def _has_ended(sock: trio.socket.SocketType) -> bool:
    # A look, not a read: TLS may have sent a session ticket, which is no end.
    with socket.socket(fileno=os.dup(sock.fileno())) as copy:
        try:
            return copy.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False


async def open_tcp(host: str, port: int) -> trio.SocketStream:
    """A connection; names are tried by happy eyeballs.  Raises OSError."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return await trio.open_tcp_stream(host, port)
    family = trio.socket.AF_INET if address.version == 4 else trio.socket.AF_INET6
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def with_tls(stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> StreamWire:
    """TLS over `stream`, its handshake done.  Raises trio.BrokenResourceError; closes on failure."""
    tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return StreamWire(tls)
