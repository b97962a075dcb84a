"""Asking an upstream: one client a provider, over a transport made for streams."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import trio

from trio_router.errors import MalformedJSON, NetworkError, UpstreamError, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from trio_router.dialects.base import UpstreamRequest
    from trio_router.routing.table import Target

_TIMEOUTS = (
    (httpx.ConnectTimeout, "connect"),
    (httpx.WriteTimeout, "write"),
    (httpx.PoolTimeout, "pool"),
)


class UpstreamClient:
    """Sends requests to one provider.  `max_in_flight` bounds its open answers; None does not."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        max_in_flight: int | None = None,
        user_agent: str = "trio-router",
    ) -> None:
        self._transport = transport
        self._slots = None if max_in_flight is None else trio.Semaphore(max_in_flight)
        self._user_agent = user_agent
        self._urls: dict[str, httpx.URL] = {}  # parsed once

    @asynccontextmanager
    async def answer(
        self,
        target: Target,
        request: UpstreamRequest,
        *,
        request_id: str,
        on_sent: Callable[[], None],
    ) -> AsyncIterator[httpx.Response]:
        """The upstream's answer, whose body has not been read; closed at the end, whatever happens.

        `on_sent` is called when the request's last byte is out.  Raises NetworkError and
        UpstreamTimeout.  On cancel the connection is closed at once and the slot given back.
        """
        limits = target.timeouts
        if self._slots is not None:
            await self._take_slot(self._slots, target)
        try:
            sent = httpx.Request(
                "POST",
                self._url(target.base_url + request.path),
                headers={
                    "accept": "text/event-stream, application/x-ndjson, application/json",
                    "accept-encoding": "identity",  # compression holds events back
                    "content-type": "application/json",
                    "user-agent": self._user_agent,
                    "x-request-id": request_id,
                    **request.headers,
                    **target.headers,
                },
                content=request.body,
                extensions={
                    "timeout": {
                        "connect": limits.connect,
                        "write": limits.write,
                        "pool": limits.pool,
                        "read": None,  # silence is the watchdog's matter
                    },
                    "on_sent": on_sent,
                },
            )
            try:
                response = await self._transport.handle_async_request(sent)
            except httpx.TransportError as fault:
                raise _as_ours(fault, target) from fault
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            if self._slots is not None:
                self._slots.release()

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _url(self, text: str) -> httpx.URL:
        url = self._urls.get(text)
        if url is None:
            url = self._urls[text] = httpx.URL(text)
        return url

    async def _take_slot(self, slots: trio.Semaphore, target: Target) -> None:
        limit = target.timeouts.pool
        with trio.move_on_after(trio_seconds(limit)) as waiting:
            await slots.acquire()
        if waiting.cancelled_caught:
            raise UpstreamTimeout(target.provider, "pool", limit)


async def body_of(response: httpx.Response, target: Target) -> AsyncGenerator[bytes, None]:
    """The body, an item a read; decompressed if the upstream insisted on compressing it.

    Raises NetworkError if the connection breaks.  To be closed with `aclosing` by who leaves early.
    """
    encoded = header(response, b"content-encoding") not in ("", "identity")
    reads = response.aiter_bytes() if encoded else response.stream
    assert not isinstance(reads, httpx.SyncByteStream)
    try:
        async for data in reads:
            yield data
    except (httpx.TransportError, httpx.DecodingError) as fault:
        raise _as_ours(fault, target) from fault


def _as_ours(fault: httpx.TransportError | httpx.DecodingError, target: Target) -> UpstreamError:
    """httpx's error as ours.  Its text names hosts and reasons, never headers."""
    provider = target.provider
    match fault:
        case httpx.TimeoutException():
            phase = next((p for kind, p in _TIMEOUTS if isinstance(fault, kind)), "read")
            return UpstreamTimeout(provider, phase, getattr(target.timeouts, phase))
        case httpx.DecodingError():
            return MalformedJSON(f"{provider}: the answer cannot be decompressed")
        case httpx.ConnectError():
            return NetworkError(f"cannot connect to {provider}: {fault}")
    return NetworkError(f"the connection to {provider} was lost: {fault}")


def header(response: httpx.Response, name: bytes) -> str:
    """A header of an answer, by its lower-case name; empty if it is not there.

    httpx's own look-up first decodes every header there is, to learn their encoding.
    """
    for key, value in response.headers.raw:
        if key.lower() == name:
            return value.decode("latin-1")
    return ""


def trio_seconds(limit: float | None) -> float:
    """A limit as trio takes it: infinity for None."""
    return float("inf") if limit is None else limit
