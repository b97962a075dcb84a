"""Requests with credentials that change: what is valid when they are sent, and a second try."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trio_router.errors import ProviderAuthError
from trio_router.relay.heavy import in_slices
from trio_router.transport.credentials import CredentialsError
from trio_router.wire.jsoncodec import is_heavy

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    import httpx

    from trio_router.routing.target import Target
    from trio_router.transport import TransportResponse
    from trio_router.transport.credentials import Authority, Credentials

_REFUSED = (401, 403)


async def authorised(
    credentials: Credentials,
    target: Target,
    method: str,
    url: httpx.URL,
    body: bytes | AsyncIterable[bytes],
    ask_with: Callable[[bytes], Awaitable[TransportResponse]],
) -> TransportResponse:
    """The answer to a request, which `ask_with` sends with the header lines that it is given.

    If the provider refuses the credentials and others may be accepted, it is asked once more.  Raises
    ProviderAuthError if there are none.
    """
    may_repeat = isinstance(body, bytes)
    while True:
        try:
            authority = credentials.held() or await credentials.wait(target.timeouts.connect)
            lines = await _lines(authority, method, url, body)
        except CredentialsError as fault:
            raise _without(fault, target) from None
        answer = await ask_with(lines)
        if not may_repeat or answer.status not in _REFUSED:
            return answer
        may_repeat = False
        if not credentials.refused(authority, header_in(answer.headers, b"date")):
            return answer
        answer.body.close()


def header_in(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    """A header, by its lower-case name; empty if it is not there."""
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")


async def _lines(
    authority: Authority, method: str, url: httpx.URL, body: bytes | AsyncIterable[bytes]
) -> bytes:
    if not authority.signs:
        return authority.lines(method, url, b"")
    if not isinstance(body, bytes):
        raise CredentialsError("a request whose body comes in pieces cannot be signed")
    if is_heavy(body):
        return await in_slices(partial(authority.lines, method, url, body))
    return authority.lines(method, url, body)


def _without(fault: CredentialsError, target: Target) -> ProviderAuthError:
    error = ProviderAuthError(f"{target.provider}: {fault}")
    error.summary = error.message
    return error
