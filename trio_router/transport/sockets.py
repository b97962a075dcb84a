"""Connections: one small interface over plain sockets and over trio streams."""

from __future__ import annotations

import select
import socket
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import trio

from trio_router.transport.names import open_named
from trio_router.wire.causes import free_causes
from trio_router.wire.written import unheard

if TYPE_CHECKING:
    from collections.abc import Callable

READ_SIZE = 65536
_PIECE = 65536  # bytes

# What a broken connection of either kind raises.
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
BROKEN = (OSError, *_GONE)


class Wire(ABC):
    """A connected byte stream.  All methods but `close` raise one of `BROKEN` when it breaks."""

    # This many bytes are assumed to be sent without waiting for the other side to read.
    unwatched: ClassVar[int]
    readable_after_cancelled_send: ClassVar[bool]
    can_half_close = True  # whether `send_eof` has an effect

    @abstractmethod
    def send_some(self, data: bytes) -> int:
        """Sends as much as possible without waiting.  Returns the number of bytes."""

    @abstractmethod
    async def send(self, data: bytes | memoryview) -> None:
        """Sends everything.  On cancel any part of it may have been sent."""

    @abstractmethod
    async def send_patiently(
        self, data: bytes | memoryview, patience: float, moved: Callable[[], None] = unheard
    ) -> None:
        """Sends everything.  Raises trio.TooSlowError if nothing moves for `patience` seconds.

        `moved` is called each time that the other side has made room for more.
        """

    @abstractmethod
    async def send_eof(self) -> None:
        """Closes the sending side; the other side may still send."""

    @abstractmethod
    async def receive(self, most: int = READ_SIZE) -> bytes:
        """One read of up to `most` bytes; b"" at the end.  Always a checkpoint.

        Loses nothing on cancel.
        """

    @abstractmethod
    async def wait_hangup(self) -> None:
        """Waits until the other side has closed, even with data unread, if the system can tell."""

    @abstractmethod
    def is_quiet(self) -> bool:
        """False if the other side has sent or closed something since the last read."""

    @abstractmethod
    def close(self) -> None:
        """Closes at once, without TLS's close_notify and without waiting.  May be called again."""


class SocketWire(Wire):
    """Over a non-blocking TCP socket: a read is one wait and one system call."""

    unwatched = 0
    readable_after_cancelled_send = True

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._expect_more = False

    def send_some(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def send(self, data: bytes | memoryview) -> None:
        self._check_open()
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.wait_writable(self._socket)
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue

    async def send_patiently(
        self, data: bytes | memoryview, patience: float, moved: Callable[[], None] = unheard
    ) -> None:
        self._check_open()
        rest = memoryview(data)
        while rest:
            with trio.move_on_after(patience) as limit:
                await trio.lowlevel.wait_writable(self._socket)
            if limit.cancelled_caught:
                raise trio.TooSlowError
            with suppress(BlockingIOError):
                rest = rest[self._socket.send(rest) :]
                moved()

    async def send_eof(self) -> None:
        self._check_open()
        self._socket.shutdown(socket.SHUT_WR)

    async def receive(self, most: int = READ_SIZE) -> bytes:
        self._check_open()
        if self._expect_more:
            # The last read filled its buffer, so more data is probably there: do not wait.
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(self._socket)
        while True:
            try:
                data = self._socket.recv(most)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            else:
                self._expect_more = len(data) == most
                return data

    async def wait_hangup(self) -> None:
        self._check_open()
        await _wait_hangup(self._socket.fileno())

    def is_quiet(self) -> bool:
        return _is_quiet(self._socket.fileno())

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("the connection was closed here")


class StreamWire(Wire):
    """Over any trio stream: TLS, or a stream in memory."""

    unwatched = 65536
    readable_after_cancelled_send = False  # trio's TLS then counts the whole stream as broken

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._closed = False
        self.can_half_close = isinstance(stream, trio.abc.HalfCloseableStream)

    def send_some(self, data: bytes) -> int:
        return 0

    async def send(self, data: bytes | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except _GONE as fault:
            free_causes(fault)
            raise

    async def send_patiently(
        self, data: bytes | memoryview, patience: float, moved: Callable[[], None] = unheard
    ) -> None:
        rest = memoryview(data)
        while rest:  # in pieces: within one, a stream does not tell its progress
            # fail_after would leave its Cancelled in a cycle: see free_causes.
            with trio.move_on_after(patience) as limit:
                await self.send(rest[:_PIECE])
            if limit.cancelled_caught:
                raise trio.TooSlowError
            rest = rest[_PIECE:]
            moved()

    async def send_eof(self) -> None:
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def receive(self, most: int = READ_SIZE) -> bytes:
        try:
            return bytes(await self._stream.receive_some(most))
        except _GONE as fault:
            free_causes(fault)
            raise

    async def wait_hangup(self) -> None:
        bottom = _bottom(self._stream)
        if isinstance(bottom, trio.SocketStream):
            await _wait_hangup(bottom.socket.fileno())
        else:
            await trio.sleep_forever()

    def is_quiet(self) -> bool:
        bottom = _bottom(self._stream)
        return not isinstance(bottom, trio.SocketStream) or _is_quiet(bottom.socket.fileno())

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            close_now(self._stream)


def wire_over(stream: trio.abc.Stream) -> Wire:
    """The fastest wire for `stream`.  It takes the stream over."""
    if not isinstance(stream, trio.SocketStream):
        return StreamWire(stream)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return SocketWire(sock)


def stream_over(sock: socket.socket) -> trio.SocketStream:
    """trio's own stream over a connected socket, for callers that need one."""
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def close_now(stream: trio.abc.Stream) -> None:
    """Closes without waiting: a socket at once, any other stream in the loop's next turn."""
    bottom = _bottom(stream)
    if isinstance(bottom, trio.SocketStream):
        bottom.socket.close()
    else:
        trio.lowlevel.spawn_system_task(_aclose_quietly, bottom)


async def open_tcp(host: str, port: int) -> trio.abc.Stream:
    """A TCP connection with TCP_NODELAY, to the first address that answers.  Raises OSError."""
    family = _family(host)
    if family is None:
        return await open_named(host, port)
    # An IP address needs neither a resolver's thread nor a race between addresses.
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect((host, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


def _family(host: str) -> socket.AddressFamily | None:
    """The family of an IP address; None if `host` is a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return family
    return None


def _bottom(stream: trio.abc.Stream) -> trio.abc.Stream:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream


def _is_quiet(fileno: int) -> bool:
    poll = select.poll()
    try:
        poll.register(fileno, select.POLLIN)
    except ValueError:  # closed
        return False
    return not poll.poll(0)


async def _wait_hangup(fileno: int) -> None:
    """Waits for the peer's close with an epoll of our own: trio only waits for data to read."""
    if fileno < 0 or sys.platform != "linux":
        await trio.sleep_forever()
        return
    with select.epoll() as watch:
        watch.register(fileno, select.EPOLLRDHUP)
        await trio.lowlevel.wait_readable(watch.fileno())


async def _aclose_quietly(stream: trio.abc.Stream) -> None:
    with suppress(Exception):  # nobody is left to report it to
        await trio.aclose_forcefully(stream)
