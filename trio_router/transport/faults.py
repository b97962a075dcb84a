"""Which faults of a connection a retry would meet again."""

from __future__ import annotations

import ssl

import httpx

_ALWAYS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError)
# TLS faults that may pass: the other side has gone or is in trouble, or bytes were garbled.
_PASSING_KINDS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_PASSING_REASONS = ("EOF", "INTERNAL_ERROR", "RECORD_MAC", "CLOSE_NOTIFY", "SHUTDOWN", "CANCEL")


class MalformedResponse(httpx.RemoteProtocolError):
    """The response is not HTTP, or its head is too large."""


class BadStatus(MalformedResponse):
    """The final status is invalid: below 200, above 599, or no number."""


class ProxyRefusal(httpx.ProxyError):
    """The proxy refuses us, or does not speak HTTP."""


def is_lasting(fault: BaseException) -> bool:
    """Whether a retry would meet the same fault again, however long it waits.

    True for a certificate that does not verify, an invalid host name, and framing that is not HTTP.
    False for a connection that was refused, closed or reset.
    """
    if isinstance(fault, (MalformedResponse, ProxyRefusal)):
        return True
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return _is_lasting_tls(cause)
        if isinstance(cause, _ALWAYS):
            return True
        cause = cause.__cause__
    return False


def _is_lasting_tls(fault: ssl.SSLError) -> bool:
    if isinstance(fault, _PASSING_KINDS):
        return False
    if isinstance(fault, ssl.SSLCertVerificationError):
        return True
    reason = getattr(fault, "reason", None) or str(fault).upper()
    return not any(word in reason for word in _PASSING_REASONS)
