"""AWS: credentials from botocore's chain, and Signature Version 4 by its signer.

A signature costs 60 us of CPU for a request of 5 KB, of which hashing the body is 4.  Importing
botocore takes 0.7 s; it is imported in the thread that fetches the first credentials.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trio_router.transport.credentials import (
    Authority,
    BearerToken,
    CredentialsError,
    Lease,
    in_threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from trio_router.transport.credentials import Source

BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_SKEW = 60.0  # s that the clocks may differ before the difference is taken into account
_NONE = (
    "no AWS credentials were found: set api_key, AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID, "
    "name a profile, or run where AWS gives a role"
)


class _Skew:
    """How much later AWS's clock is than ours, in seconds; learned from a refusal."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._seconds = 0.0

    def now(self) -> float:
        return self._wall() + self._seconds

    def learn(self, date: str) -> bool:
        """Whether the `Date` of an answer has shown that our clock was wrong."""
        try:
            seconds = parsedate_to_datetime(date).timestamp() - self._wall()
        except ValueError:
            return False
        is_new = abs(seconds - self._seconds) > _SKEW
        if is_new:
            self._seconds = seconds
        return is_new


class AwsSignature(Authority):
    """Signs requests with one set of keys, for one service in one region."""

    signs = True

    def __init__(self, keys: Any, service: str, region: str, skew: _Skew) -> None:
        self._request = import_module("botocore.awsrequest").AWSRequest
        self._signer = import_module("botocore.auth").SigV4Auth(keys, service, region)
        self._token: str = keys.token or ""
        self._skew = skew
        self._secrets = {"aws-secret-key": keys.secret_key, "aws-access-key": keys.access_key}
        if self._token:
            self._secrets["x-amz-security-token"] = self._token

    @property
    def secrets(self) -> Mapping[str, str]:
        return self._secrets

    def lines(self, method: str, url: httpx.URL, body: bytes) -> bytes:
        """What the signer's `add_auth` does, at a time of ours, and without its log of the request."""
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._skew.now()))
        told = {"X-Amz-Date": at}
        if self._token:
            told["X-Amz-Security-Token"] = self._token
        request = self._request(method, str(url), headers=told, data=body)
        request.context["timestamp"] = at
        signer = self._signer
        text = signer.string_to_sign(request, signer.canonical_request(request))
        told["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, "
            f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}, "
            f"Signature={signer.signature(text, request)}"
        )
        return "".join([f"{name}: {value}\r\n" for name, value in told.items()]).encode()

    def corrected(self, date: str) -> bool:
        return self._skew.learn(date)


def aws_source(
    *,
    region: str | None,
    service: str,
    profile: str | None,
    environ: Mapping[str, str],
    wall: Callable[[], float],
) -> Source:
    """Environment, profile, SSO, web identity, container and instance, in botocore's order.

    A bearer key in the environment comes before all of them, except a profile that is named.
    """
    skew = _Skew(wall)

    def fetch() -> Lease:
        bearer = environ.get(BEARER, "").strip()
        if bearer and profile is None:
            return Lease(BearerToken(bearer), None)
        return _fetch(region, service, profile, skew)

    return in_threads(fetch)


def _fetch(region: str | None, service: str, profile: str | None, skew: _Skew) -> Lease:
    try:
        session = import_module("botocore.session").Session(profile=profile)
    except ImportError:
        raise CredentialsError(
            "botocore is not installed: pip install 'trio-router[aws]', or set api_key"
        ) from None
    region = region or session.get_config_variable("region")
    if not region:
        raise CredentialsError("the region is not known: set the provider's region")
    try:
        # A new session each time: what it finds is new too.
        found = session.get_credentials()
        if found is None:
            raise CredentialsError(_NONE)
        keys = found.get_frozen_credentials()
    except import_module("botocore.exceptions").BotoCoreError as fault:
        where = getattr(fault, "kwargs", {}).get("provider") or profile or "the chain"
        raise CredentialsError(
            f"AWS credentials of {where} could not be fetched ({type(fault).__name__})"
        ) from None
    end = getattr(found, "_expiry_time", None)  # of what expires; botocore has no public name for it
    seconds = None if end is None else end.timestamp() - skew.now()
    return Lease(AwsSignature(keys, service, region, skew), seconds)
