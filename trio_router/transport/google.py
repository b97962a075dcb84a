"""Google: tokens of application default credentials, by google-auth.

These are service accounts' keys, workload identity federation, a user's own credentials, and the
metadata of Google's machines.  google-auth blocks, and is imported in the thread that fetches first.
"""

from __future__ import annotations

from datetime import UTC
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx

from trio_router.transport.credentials import BearerToken, CredentialsError, Lease, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_router.transport.credentials import Source

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# Where google-auth looks for the project of a federated identity; ours is configured.
_PROJECTS = "https://cloudresourcemanager."
_TIMEOUT = 20.0  # s of one request for a token
_MISSING = (
    "no Google credentials were found: set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth "
    "application-default login`, or run where Google gives a service account"
)


def google_source(wall: Callable[[], float]) -> Source:
    """`wall` is the time in Unix seconds."""
    return in_threads(lambda: _fetch(wall))


def _fetch(wall: Callable[[], float]) -> Lease:
    try:
        auth = import_module("google.auth")
        faults = import_module("google.auth.exceptions")
    except ImportError:
        raise CredentialsError(
            "google-auth is not installed: pip install 'trio-router[google]', or set api_key"
        ) from None
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client:
        ask = _Asking(client, faults)
        try:
            found, _ = auth.default(scopes=[_SCOPE], request=ask)
            if not found.valid:
                found.refresh(ask)
        except faults.DefaultCredentialsError:
            raise CredentialsError(_MISSING) from None
        except faults.GoogleAuthError as fault:
            raise CredentialsError(
                f"a Google token could not be fetched ({type(fault).__name__})"
            ) from None
    end = found.expiry  # in UTC, without saying so
    seconds = None if end is None else end.replace(tzinfo=UTC).timestamp() - wall()
    project = getattr(found, "quota_project_id", None)  # who pays, if it is not whose token it is
    more = f"x-goog-user-project: {project}\r\n" if project else ""
    return Lease(BearerToken(found.token or "", more=more), seconds)


class _Asking:
    """How google-auth asks: its `google.auth.transport.Request`, by httpx."""

    def __init__(self, client: httpx.Client, faults: Any) -> None:
        self._client = client
        self._fault = faults.TransportError

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Answered:
        if url.startswith(_PROJECTS):
            return _Answered(httpx.Response(404, json={}))
        try:
            answer = self._client.request(
                method, url, content=body, headers=headers, timeout=timeout or _TIMEOUT
            )
        except httpx.HTTPError as fault:
            raise self._fault(type(fault).__name__) from None
        return _Answered(answer)


class _Answered:
    """Its `google.auth.transport.Response`."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.headers = answer.headers
        self.data = answer.content
