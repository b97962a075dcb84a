"""The credentials of each provider whose credentials change."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trio_router.config.clouds import region_of, service_of
from trio_router.transport import StreamTransport
from trio_router.transport.aws import BEARER, aws_source
from trio_router.transport.credentials import Credentials, Renewals
from trio_router.transport.entra import EntraSettings, entra_source
from trio_router.transport.google import google_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trio_router.config.clouds import EntraConfig
    from trio_router.config.schema import Config, ProviderConfig
    from trio_router.transport.credentials import Source

    Told = Callable[[str, str], None]  # a provider's name, and the result of a fetch


class CredentialSources:
    """Makes them.  `renewals` must run while they are used; `told` is called after each fetch.

    `make_transport` gives what tokens are asked for with, where that is a matter of a request.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        told: Told,
        make_transport: Callable[[], StreamTransport] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.renewals = Renewals()
        self._wall = wall
        self._told = told
        self._make_transport = make_transport or StreamTransport
        self._environ = environ

    def of(self, name: str, provider: ProviderConfig) -> Credentials | None:
        """None: the provider's own key is all that it is asked with."""
        source = self._source(provider)
        if source is None:
            return None
        return Credentials(name, source, self.renewals, lambda result: self._told(name, result))

    def _source(self, provider: ProviderConfig) -> Source | None:
        if provider.cloud == "aws":
            return aws_source(
                region=region_of(provider),
                service=service_of(provider),
                profile=None if provider.aws is None else provider.aws.profile,
                environ=self._environ,
                wall=self._wall,
            )
        if provider.cloud == "google":
            return google_source(self._wall)
        if provider.entra is not None and provider.cloud == "entra":
            return entra_source(
                _settings(provider.entra),
                make_transport=self._make_transport,
                environ=self._environ,
                wall=self._wall,
            )
        return None


def _settings(entra: EntraConfig) -> EntraSettings:
    secret = entra.client_secret
    return EntraSettings(
        entra.tenant_id,
        entra.client_id,
        None if secret is None else secret.get_secret_value(),
        entra.token_file,
        entra.authority,
        entra.scope,
    )


def missing_extras(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A complaint for each provider whose credentials need a package that is not installed."""
    for name, provider in config.providers.items():
        if provider.cloud == "aws" and not environ.get(BEARER) and not _is_there("botocore"):
            yield (
                f"providers.{name}: AWS's credentials need botocore: "
                "pip install 'trio-router[aws]', or set api_key"
            )
        elif provider.cloud == "google" and not _is_there("google.auth"):
            yield (
                f"providers.{name}: Google's credentials need google-auth: "
                "pip install 'trio-router[google]', or set api_key"
            )


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of what it is in
        return False
