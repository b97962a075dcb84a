"""The client of one provider, over a transport made for streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from trio_router.errors import (
    LastingFault,
    MalformedJSON,
    NetworkError,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from trio_router.relay.authorised import authorised, header_in
from trio_router.relay.inflating import InflatedReads
from trio_router.transport.faults import BadStatus, MalformedResponse, is_lasting
from trio_router.wire.inflate import InflateError, coding_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    from trio_router.dialects.base import UpstreamRequest
    from trio_router.relay.gate import Gate
    from trio_router.routing.target import Target
    from trio_router.transport import PreparedPost, StreamTransport, TransportResponse
    from trio_router.transport.credentials import Credentials

_REMEMBERED = 1000  # request heads kept; there are many models where any name is passed on
_TIMEOUTS = (
    (httpx.ConnectTimeout, "connect"),
    (httpx.WriteTimeout, "write"),
    (httpx.PoolTimeout, "pool"),
)


@dataclass(frozen=True, slots=True)
class PassingRequest:
    """A request that passes through.  `path` is appended to the provider's base URL.

    `length` is the length in bytes of a body that comes in pieces; None if it is unknown.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterable[bytes] = b""
    length: int | None = None
    takes_slot: bool = True  # counts against the provider's `max_in_flight`
    base_url: str = ""  # in place of the provider's


class UpstreamClient:
    """Sends requests to one provider.  `gate` limits its open answers; None: no limit.

    `credentials` are those that change; None: the targets' own headers are all there is.
    """

    def __init__(
        self,
        transport: StreamTransport,
        *,
        gate: Gate | None = None,
        user_agent: str = "trio-router",
        credentials: Credentials | None = None,
    ) -> None:
        self._transport = transport
        self._gate = gate
        self._user_agent = user_agent
        self._credentials = credentials
        self._prepared: dict[tuple[int, str], tuple[Target, PreparedPost, dict[str, float | None]]] = {}

    async def ask(
        self,
        target: Target,
        request: UpstreamRequest,
        *,
        request_id: str,
        more: bytes = b"",
        on_admitted: Callable[[], None] | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> UpstreamAnswer:
        """The upstream's answer, its body unread.  The caller enters it with `with` at once.

        `more` are header lines of this request alone.  `on_admitted` is called when the request has its
        slot, `on_sent` when its last byte is out.  Raises NetworkError, UpstreamTimeout and, if too
        many requests wait for a slot, Overloaded.  On cancel the connection is closed at once and the
        slot is released.
        """
        gate = self._gate
        if gate is not None:
            await self._enter(gate, target)
        with _Opening(gate, target):
            if on_admitted is not None:
                on_admitted()
            prepared, limits = self._prepare(target, request)
            post = self._transport.post
            source = self._credentials
            if source is None:
                answer = await post(prepared, request.body, request_id.encode(), limits, on_sent, more)
            else:

                async def ask_with(lines: bytes) -> TransportResponse:
                    told = more + lines
                    return await post(
                        prepared, request.body, request_id.encode(), limits, on_sent, told
                    )

                answer = await authorised(source, target, "POST", prepared.url, request.body, ask_with)
        return UpstreamAnswer(answer, target, gate)

    async def send(
        self,
        target: Target,
        request: PassingRequest,
        *,
        request_id: str,
        more: bytes = b"",
        on_admitted: Callable[[], None] | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> UpstreamAnswer:
        """Like `ask`, for requests that pass through.  Also raises what `request.body` raises."""
        gate = self._gate if request.takes_slot else None
        if gate is not None:
            await self._enter(gate, target)
        with _Opening(gate, target):
            if on_admitted is not None:
                on_admitted()
            url = _url(target, request.path, base_url=request.base_url)

            async def ask_with(lines: bytes) -> TransportResponse:
                return await self._transport.send(
                    request.method.encode(),
                    url,
                    self._passing_headers(target, request, request_id) + _fields(more + lines),
                    request.body,
                    _limits(target),
                    on_sent,
                )

            source = self._credentials
            if source is None:
                answer = await ask_with(b"")
            else:
                answer = await authorised(source, target, request.method, url, request.body, ask_with)
        return UpstreamAnswer(answer, target, gate)

    def secrets(self) -> Sequence[Mapping[str, str]]:
        """What its changing credentials must not tell, by the headers that tell the provider."""
        return () if self._credentials is None else self._credentials.secrets()

    def _passing_headers(
        self, target: Target, request: PassingRequest, request_id: str
    ) -> list[tuple[bytes, bytes]]:
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": self._user_agent,
            **target.dialect.headers,
            **request.headers,
            **target.headers,
            "x-request-id": request_id,
        }
        if not isinstance(request.body, bytes) and request.length is not None:
            headers["content-length"] = str(request.length)
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    def forget_targets(self) -> None:
        """Drops the cached heads of targets, which belong to a configuration that was replaced."""
        self._prepared.clear()

    def close(self) -> None:
        """Closes every connection, also those in use."""
        self._transport.close()

    def _prepare(
        self, target: Target, request: UpstreamRequest
    ) -> tuple[PreparedPost, dict[str, float | None]]:
        key = (id(target), request.path)
        known = self._prepared.get(key)
        if known is not None and known[0] is target and not request.headers:
            return known[1], known[2]
        url = _url(target, request.path, request.above)
        prepared = self._transport.prepare(url, self._headers(target, request))
        limits = _limits(target)
        if not request.headers:
            if len(self._prepared) >= _REMEMBERED:
                self._prepared.clear()
            self._prepared[key] = target, prepared, limits
        return prepared, limits

    def _headers(self, target: Target, request: UpstreamRequest) -> list[tuple[bytes, bytes]]:
        headers = {
            "accept": "text/event-stream, application/x-ndjson, application/json",
            "accept-encoding": "identity",  # compression would delay events
            "content-type": "application/json",
            "user-agent": self._user_agent,
            **target.dialect.headers,
            **request.headers,
            **target.headers,
        }
        headers.pop("x-request-id", None)  # each request sends its own
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    async def _enter(self, gate: Gate, target: Target) -> None:
        limit = target.timeouts.pool
        if not await gate.enter(trio_seconds(limit), f"{target.provider} has too many open requests"):
            raise UpstreamTimeout(target.provider, "pool", limit)


class _Opening:
    """Asks for an answer: whatever goes wrong gives the slot back, and is told in our own errors."""

    __slots__ = ("_gate", "_target")

    def __init__(self, gate: Gate | None, target: Target) -> None:
        self._gate = gate
        self._target = target

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is None:
            return  # the slot is the answer's
        if self._gate is not None:
            self._gate.leave()
        if isinstance(fault, httpx.TransportError):
            raise _as_ours(fault, self._target) from fault


class UpstreamAnswer:
    """An answer and its body.  Each item is one read; of a body that the upstream compressed all the
    same, an item is at most 64 KiB.

    Reading raises NetworkError if the connection breaks or a compressed body ends too early, and
    MalformedJSON if it cannot be inflated.  Leaving the `with` closes an answer that was not read.
    """

    def __init__(self, answer: TransportResponse, target: Target, gate: Gate | None) -> None:
        self.status = answer.status
        self._answer = answer
        self._target = target
        self._gate = gate
        self._reads: AsyncIterator[bytes] = answer.body
        self.is_encoded = bool(self.header(b"content-encoding"))
        self._codings: list[str] = []  # codings that are still to be undone
        if self.is_encoded:
            fields = answer.headers
            self._codings = [v.decode("latin-1") for k, v in fields if k.lower() == b"content-encoding"]

    def take_as_it_is(self) -> None:
        """Leaves the body compressed: the client gets the Content-Encoding too."""
        self._codings = []

    def __enter__(self) -> UpstreamAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.body.close()
        if self._gate is not None:
            self._gate.leave()

    def __aiter__(self) -> UpstreamAnswer:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._codings:
                self._begin_inflating()
            return await anext(self._reads)
        except InflateError as fault:
            if self.status >= 300:  # the status tells enough
                raise StopAsyncIteration from None
            provider = self._target.provider
            raise MalformedJSON(f"{provider}: the answer cannot be decompressed: {fault}") from fault
        except httpx.TransportError as fault:
            raise _as_ours(fault, self._target) from fault

    def _begin_inflating(self) -> None:
        coding = coding_of(self._codings)
        self._codings = []
        if coding:
            self._reads = InflatedReads(self._answer.body, coding)

    def forget_headers(self) -> None:
        """Frees the headers, which a stream would otherwise keep for as long as it lasts."""
        self._answer.headers.clear()

    def header(self, name: bytes) -> str:
        """A header, by its lower-case name; empty if it is not there."""
        return header_in(self._answer.headers, name)


def _fields(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as pairs."""
    return [(name, value) for line in lines.splitlines() for name, _, value in [line.partition(b": ")]]


def _as_ours(fault: httpx.TransportError, target: Target) -> UpstreamError:
    """Translates httpx's error into ours.  Its text names hosts and reasons, never headers."""
    provider = target.provider
    match fault:
        case httpx.TimeoutException():
            phase = next((p for kind, p in _TIMEOUTS if isinstance(fault, kind)), "read")
            return UpstreamTimeout(provider, phase, getattr(target.timeouts, phase))
        case BadStatus():
            return UpstreamStatus(f"{provider}: {fault}", status=502, code="upstream_status")
    kind = LastingFault if is_lasting(fault) else NetworkError
    match fault:
        case httpx.ConnectError() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return kind(f"cannot connect to {provider}: {fault}")
        case httpx.LocalProtocolError():
            return kind(f"{provider} cannot be asked for this: {fault}")
        case MalformedResponse():
            return kind(f"{provider} does not answer in HTTP: {fault}")
    return kind(f"the connection to {provider} was lost: {fault}")


def _limits(target: Target) -> dict[str, float | None]:
    return {
        "connect": target.timeouts.connect,
        "write": target.timeouts.write,
        "pool": target.timeouts.pool,
        "read": None,  # the watchdog limits silence
    }


def _url(target: Target, path: str, above: str = "", base_url: str = "") -> httpx.URL:
    url = httpx.URL((base_url or target.base_url).removesuffix(above) + path)
    return url.copy_merge_params(dict(target.query)) if target.query else url


def trio_seconds(limit: float | None) -> float:
    """A limit as trio expects it: infinity for None."""
    return float("inf") if limit is None else limit
