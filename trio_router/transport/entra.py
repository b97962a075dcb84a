"""Microsoft's Entra ID: tokens for Azure, by the HTTP calls that Microsoft documents.

A client's secret ("client credentials flow"), a workload's federated token ("workload identity
federation"), or the identity that a machine or an app service has ("managed identities"), in this
order, as far as settings and environment give them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import trio

from trio_router.transport.credentials import BearerToken, CredentialsError, Lease
from trio_router.wire.jsoncodec import JSONError, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_router.transport.credentials import Source
    from trio_router.transport.transport import StreamTransport

_AUTHORITY = "https://login.microsoftonline.com"
_METADATA = "http://169.254.169.254"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST = 1 << 20  # bytes of an answer
_TIMEOUT = 20.0  # s
_CODE = re.compile(r"AADSTS\d+")
_WORD = re.compile(r"\w{1,64}")


@dataclass(frozen=True, slots=True)
class EntraSettings:
    """What the configuration says; what is None comes from the environment."""

    tenant_id: str | None
    client_id: str | None
    client_secret: str | None
    token_file: str | None
    authority: str | None
    scope: str


@dataclass(frozen=True, slots=True)
class _Ask:
    method: str
    url: str
    fields: dict[str, str]  # of the form, or of the query
    headers: dict[str, str]


def entra_source(
    settings: EntraSettings,
    *,
    make_transport: Callable[[], StreamTransport],
    environ: Mapping[str, str],
    wall: Callable[[], float],
) -> Source:
    """`make_transport` gives what the calls are made with; `wall` is the time in Unix seconds."""

    async def source() -> Lease:
        ask = await _ask(settings, environ)
        async with httpx.AsyncClient(transport=make_transport(), timeout=_TIMEOUT) as client:
            status, value = await _answer(client, ask)
        if status != 200:
            raise CredentialsError(_refusal(status, value))
        return Lease(BearerToken(str(value.get("access_token") or "")), _seconds(value, wall()))

    return source


async def _ask(settings: EntraSettings, environ: Mapping[str, str]) -> _Ask:
    def told(value: str | None, *names: str) -> str:
        return value or next((environ[name] for name in names if environ.get(name)), "")

    tenant = told(settings.tenant_id, "AZURE_TENANT_ID")
    client = told(settings.client_id, "AZURE_CLIENT_ID")
    secret = told(settings.client_secret, "AZURE_CLIENT_SECRET")
    file = told(settings.token_file, "AZURE_FEDERATED_TOKEN_FILE")
    if not (tenant and client and (secret or file)):
        return _managed(settings, client, environ)
    authority = told(settings.authority, "AZURE_AUTHORITY_HOST") or _AUTHORITY
    fields = {"grant_type": "client_credentials", "client_id": client, "scope": settings.scope}
    if secret:
        fields["client_secret"] = secret
    else:
        fields |= {"client_assertion_type": _ASSERTION, "client_assertion": await _read(file)}
    url = f"{authority.rstrip('/')}/{tenant}/oauth2/v2.0/token"
    return _Ask("POST", url, fields, {"content-type": "application/x-www-form-urlencoded"})


def _managed(settings: EntraSettings, client: str, environ: Mapping[str, str]) -> _Ask:
    """Of an app service or a container app, else of a machine."""
    fields = {"resource": settings.scope.removesuffix("/.default")}
    if client:
        fields["client_id"] = client
    endpoint, header = environ.get("IDENTITY_ENDPOINT", ""), environ.get("IDENTITY_HEADER", "")
    if endpoint and header:
        told = {"api-version": "2019-08-01", **fields}
        return _Ask("GET", endpoint, told, {"x-identity-header": header})
    host = environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _METADATA
    url = f"{host.rstrip('/')}/metadata/identity/oauth2/token"
    return _Ask("GET", url, {"api-version": "2018-02-01", **fields}, {"metadata": "true"})


async def _read(file: str) -> str:
    """A federated token, which its platform renews in the file."""
    try:
        return (await trio.Path(file).read_text()).strip()
    except (OSError, UnicodeDecodeError):
        raise CredentialsError("the federated token's file cannot be read") from None


async def _answer(client: httpx.AsyncClient, ask: _Ask) -> tuple[int, dict[str, Any]]:
    where = {"params": ask.fields} if ask.method == "GET" else {"data": ask.fields}
    body = bytearray()
    try:
        async with client.stream(ask.method, ask.url, headers=ask.headers, **where) as answer:  # type: ignore[arg-type]
            async for data in answer.aiter_raw():
                body += data
                if len(body) > _LONGEST:
                    break
    except httpx.HTTPError as fault:
        what = "nobody gives managed identities here" if ask.method == "GET" else "Entra ID is away"
        raise CredentialsError(f"{what} ({type(fault).__name__})") from None
    try:
        value = loads(bytes(body))
    except JSONError:
        value = None
    return answer.status_code, value if isinstance(value, dict) else {}


def _refusal(status: int, value: dict[str, Any]) -> str:
    """Its codes alone: a description quotes what it was sent."""
    error = value.get("error")
    words = [error] if isinstance(error, str) and _WORD.fullmatch(error) else []
    words += _CODE.findall(str(value.get("error_description") or ""))[:1]
    return f"Entra ID gave no token ({', '.join([str(status), *words])})"


def _seconds(value: dict[str, Any], now: float) -> float | None:
    """How long the token is valid: some say for how long, some until when, some as text."""
    for name, before in (("expires_in", 0.0), ("expires_on", now)):
        try:
            seconds = float(value[name]) - before
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(seconds):
            return seconds
    return None
