"""The embedded default: what a router without a configuration finds on its machine."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from pydantic import SecretStr

from trio_router.config.discover_clouds import found_clouds
from trio_router.config.kinds import keyed_kinds, kind_called
from trio_router.config.schema import Config, ProviderConfig, ServerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

OLLAMA = kind_called("ollama").local_address
_PROBE = 0.5  # s


def embedded_config(environ: Mapping[str, str]) -> Config:
    """`demo`, a local Ollama if one answers, each well-known provider whose key is there, and clouds
    whose credentials are.
    """
    providers = {
        kind.name: ProviderConfig(dialect=kind.dialect, base_url=kind.base_url, api_key=SecretStr(key))
        for kind, key in keyed_kinds(environ)
    }
    providers |= {n: found for n, found in found_clouds(environ).items() if n not in providers}
    if OLLAMA is not None and ollama_answers(*OLLAMA):
        providers["ollama"] = ProviderConfig(
            dialect="ollama", base_url=f"http://{OLLAMA[0]}:{OLLAMA[1]}"
        )
    return Config(server=ServerConfig(demo=True), providers=providers)


def ollama_answers(host: str, port: int) -> bool:
    """Whether an Ollama listens there; waits half a second at most for each step of its answer."""
    connection = http.client.HTTPConnection(host, port, timeout=_PROBE)
    try:
        connection.request("GET", "/api/version")
        return b'"version"' in connection.getresponse().read(1024)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
