"""Providers in a cloud: where they are, and whose credentials they are asked with.  Pure values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Field, SecretStr

from trio_router.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

Cloud = Literal["", "aws", "google", "entra"]
_PLACE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z0-9][a-z0-9-]*")
_REGION = re.compile(r"bedrock[a-z-]*\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com|api\.aws)")
_PUBLISHERS = {"gemini": "google", "anthropic": "anthropic"}
_MULTIPLE = ("us", "eu")  # locations that are several regions
COGNITIVE_SERVICES = "https://cognitiveservices.azure.com/.default"


def _is_place(text: str) -> str:
    if not _PLACE.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a region")
    return text


def _is_project(text: str) -> str:
    if not _PROJECT.fullmatch(text):
        raise ValueError(f"{text!r} is no id of a project")
    return text


Region = Annotated[str, AfterValidator(_is_place)]


class AwsConfig(Section):
    """Credentials from AWS's own chain."""

    profile: Annotated[str, Field(min_length=1)] | None = None  # of the files under ~/.aws
    service: Annotated[str, Field(min_length=1)] | None = None  # None: as the host says


class VertexConfig(Section):
    """Google's Vertex AI, with credentials from Google's own chain."""

    project: Annotated[str, AfterValidator(_is_project)]
    location: Annotated[str, AfterValidator(_is_place)] = "global"


class EntraConfig(Section):
    """Tokens of Microsoft's Entra ID.  What is left open comes from the environment (AZURE_...)."""

    tenant_id: Annotated[str, Field(min_length=1)] | None = None
    client_id: Annotated[str, Field(min_length=1)] | None = None
    client_secret: SecretStr | None = None
    token_file: Annotated[str, Field(min_length=1)] | None = None  # a federated token of the workload
    authority: Annotated[str, Field(pattern=r"^https?://")] | None = None  # of another Azure cloud
    scope: Annotated[str, Field(min_length=1)] = COGNITIVE_SERVICES


class CloudSettings(Protocol):
    """What a provider's configuration says of clouds."""

    @property
    def dialect(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, SecretStr]: ...
    @property
    def region(self) -> str | None: ...
    @property
    def aws(self) -> AwsConfig | None: ...
    @property
    def vertex(self) -> VertexConfig | None: ...
    @property
    def entra(self) -> EntraConfig | None: ...
    @property
    def keys(self) -> tuple[str, ...]: ...


def with_base_url(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A provider's fields with the base URL that follows from its region, project and location.

    Raises ValueError if nothing tells it.
    """
    vertex = values.get("vertex")
    if isinstance(vertex, dict | VertexConfig):
        return _with_vertex(values, dict(vertex))
    if values.get("dialect") != "bedrock" or values.get("base_url"):
        return values
    region = values.get("region")
    if not isinstance(region, str):
        raise ValueError("give a region, from which base_url follows")
    end = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return {**values, "base_url": f"https://bedrock-runtime.{region}.{end}"}


def _with_vertex(values: Mapping[str, Any], vertex: dict[str, Any]) -> Mapping[str, Any]:
    publisher = _PUBLISHERS.get(str(values.get("dialect")))
    if publisher is None:
        raise ValueError("vertex is for the dialects gemini and anthropic")
    project, place = vertex.get("project"), vertex.get("location") or "global"
    base = values.get("base_url") or f"https://{_vertex_host(str(place))}/v1"
    tail = f"/projects/{project}/locations/{place}/publishers/{publisher}"
    return {**values, "base_url": f"{str(base).removesuffix(tail).rstrip('/')}{tail}"}


def _vertex_host(location: str) -> str:
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in _MULTIPLE:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def cloud_of(provider: CloudSettings) -> Cloud:
    """Whose credentials the provider is asked with; empty: its own key, or none at all."""
    if provider.keys or any(name.lower() == "authorization" for name in provider.headers):
        return ""
    if provider.vertex is not None:
        return "google"
    if provider.entra is not None:
        return "entra"
    return "aws" if provider.aws is not None or provider.dialect == "bedrock" else ""


def cloud_complaint(provider: CloudSettings) -> str:
    """What is wrong with a provider's settings of clouds; empty if nothing is."""
    given = [name for name in ("aws", "vertex", "entra") if getattr(provider, name) is not None]
    if len(given) > 1:
        return f"{' and '.join(given)} cannot be used together"
    if provider.keys and (provider.aws or provider.entra):
        return f"{given[0]} is of no use with an api_key"
    if provider.region is not None and not (provider.dialect == "bedrock" or provider.aws):
        return "region is of no use without dialect bedrock or aws"
    if provider.entra is not None and provider.dialect not in ("azure", "openai"):
        return "entra is for the dialects azure and openai"
    return ""


def region_of(provider: CloudSettings) -> str | None:
    """The region that requests are signed for; None if neither a setting nor the host tells it."""
    if provider.region is not None:
        return provider.region
    found = _REGION.search(provider.base_url)
    return found["region"] if found else None


def service_of(provider: CloudSettings) -> str:
    """The service that requests are signed for."""
    if provider.aws is not None and provider.aws.service is not None:
        return provider.aws.service
    return "bedrock-mantle" if "://bedrock-mantle." in provider.base_url else "bedrock"
