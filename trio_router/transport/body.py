"""The body of a response, as httpx reads it; returns or closes its connection at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from trio_router.transport.pool import Pool
    from trio_router.transport.round_trip import RoundTrip, UpstreamConnection


class ResponseBody(httpx.AsyncByteStream):
    """One item a read of the connection: all body bytes of that read.

    The connection goes back to the pool as soon as the response is complete, and is closed as soon
    as that can no longer happen: on a fault, on cancel, on `aclose`.
    """

    def __init__(
        self,
        pool: Pool[UpstreamConnection],
        connection: UpstreamConnection,
        exchange: RoundTrip,
        begun: bytes,
    ) -> None:
        self._pool = pool
        self._connection: UpstreamConnection | None = connection
        self._exchange = exchange
        self._ready = begun
        self._closed = False
        self._settle()

    def __aiter__(self) -> ResponseBody:
        return self

    async def __anext__(self) -> bytes:
        """Raises httpx.ReadError, ReadTimeout, RemoteProtocolError; httpx.StreamClosed if closed."""
        response = self._exchange.response
        while not self._ready:
            if response.fault is not None:
                raise response.error()
            if response.done:
                raise StopAsyncIteration
            if self._closed:
                raise httpx.StreamClosed
            await self._read()
        data, self._ready = self._ready, b""
        return data

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection unless the body was read to its end.  Never waits; repeatable."""
        self._ready = b""
        self._close()

    async def _read(self) -> None:
        try:
            self._ready = await self._exchange.read()
        except BaseException:
            self._close()
            raise
        self._settle()

    def _settle(self) -> None:
        response = self._exchange.response
        if response.fault is not None:
            self._close()
        elif response.done and self._connection is not None:
            if self._exchange.reusable:
                connection, self._connection = self._connection, None
                self._pool.give_back(connection)
            else:
                self._close()

    def _close(self) -> None:
        self._closed = True
        self._exchange.response.close()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.discard(connection)
