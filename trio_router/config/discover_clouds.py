"""What the embedded default finds of clouds: credentials that can be used, and where models are."""

from __future__ import annotations

import configparser
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr, ValidationError

from trio_router.config.clouds import EntraConfig, VertexConfig
from trio_router.config.schema import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_AWS = ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
_BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_REGION = "us-east-1"  # where all models are
_LOCATION = "global"
_LARGEST = 1 << 20  # bytes of a file of credentials


def found_clouds(environ: Mapping[str, str]) -> dict[str, ProviderConfig]:
    """Providers of clouds whose credentials are there, by name.

    Nobody is asked: whether they are valid is seen when they are used, or by `check --online`.  Files
    are looked for below `HOME`.
    """
    found: dict[str, ProviderConfig] = {}
    for look in (_bedrock, _vertex, _azure):
        try:
            found |= dict(look(environ))
        except (OSError, ValueError, ValidationError, configparser.Error):
            continue  # what cannot be read, or makes no sense, is not found
    return found


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _bedrock(environ: Mapping[str, str]) -> Iterator[tuple[str, ProviderConfig]]:
    bearer = _first(environ, _BEARER)
    has_keys = environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY")
    files = _aws_files(environ)
    if not bearer and not (has_keys or _first(environ, *_AWS) or files):
        return
    if not bearer and not _is_installed("botocore"):
        return
    region = _first(environ, "AWS_REGION", "AWS_DEFAULT_REGION") or _region_in(environ, files)
    told = {"dialect": "bedrock", "region": region or _REGION}
    if bearer:
        told["api_key"] = bearer
    yield "bedrock", ProviderConfig.model_validate(told)


def _aws_files(environ: Mapping[str, str]) -> list[Path]:
    home = environ.get("HOME", "")
    given = [
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or (home and f"{home}/.aws/credentials"),
        environ.get("AWS_CONFIG_FILE") or (home and f"{home}/.aws/config"),
    ]
    return [path for path in map(Path, filter(None, given)) if _is_small(path)]


def _region_in(environ: Mapping[str, str], files: list[Path]) -> str:
    name = environ.get("AWS_PROFILE") or "default"
    for path in files:
        parser = configparser.RawConfigParser()
        parser.read_string(path.read_text())
        for section in (name, f"profile {name}"):
            if parser.has_option(section, "region"):
                return parser.get(section, "region").strip()
    return ""


def _vertex(environ: Mapping[str, str]) -> Iterator[tuple[str, ProviderConfig]]:
    home = environ.get("HOME", "")
    folder = environ.get("CLOUDSDK_CONFIG") or (home and f"{home}/.config/gcloud")
    file = _first(environ, "GOOGLE_APPLICATION_CREDENTIALS") or (
        folder and f"{folder}/application_default_credentials.json"
    )
    if not file or not _is_small(Path(file)) or not _is_installed("google.auth"):
        return
    told = json.loads(Path(file).read_text())
    if not isinstance(told, dict):
        return
    project = _first(environ, "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID")
    project = project or told.get("project_id") or told.get("quota_project_id") or ""
    if not project:
        return
    location = _first(environ, "GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION") or _LOCATION
    place = VertexConfig(project=project, location=location)
    yield "vertex", ProviderConfig.model_validate({"dialect": "gemini", "vertex": place})
    yield "vertex-claude", ProviderConfig.model_validate({"dialect": "anthropic", "vertex": place})


def _azure(environ: Mapping[str, str]) -> Iterator[tuple[str, ProviderConfig]]:
    endpoint = _first(environ, "AZURE_OPENAI_ENDPOINT").rstrip("/")
    if not endpoint:
        return
    base_url = f"{endpoint.removesuffix('/openai/v1')}/openai/v1"
    key = _first(environ, "AZURE_OPENAI_API_KEY")
    if key:
        yield "azure", ProviderConfig(base_url=base_url, api_key=SecretStr(key))
    elif _first(environ, "AZURE_CLIENT_ID", "IDENTITY_ENDPOINT"):
        yield "azure", ProviderConfig(base_url=base_url, entra=EntraConfig())


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of what it is in
        return False
