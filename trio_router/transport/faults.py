"""Which faults of a connection will be the same next time."""

from __future__ import annotations

import ssl

import httpx

_ALWAYS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError)
# Of TLS: the other side has gone, is in trouble, or bytes were garbled on the way.
_PASSING_KINDS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_PASSING_REASONS = ("EOF", "INTERNAL_ERROR", "RECORD_MAC", "CLOSE_NOTIFY", "SHUTDOWN", "CANCEL")


class MalformedResponse(httpx.RemoteProtocolError):
    """What came is no HTTP, or more of a head than is read."""


class BadStatus(MalformedResponse):
    """The response has a status that there is not: below 200 at its end, beyond 599, no number."""


class ProxyRefusal(httpx.ProxyError):
    """The proxy does not want us, or speaks no HTTP."""


def is_lasting(fault: BaseException) -> bool:
    """Whether the same request would meet the same fault again, however long it waits.

    So it is with a certificate that does not verify, a host that is no name, framing that is no HTTP;
    not with a connection that was refused, closed or reset.
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
