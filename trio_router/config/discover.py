"""The embedded default: what a router without a configuration finds on its machine."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from pydantic import SecretStr

from trio_router.config.schema import Config, DialectName, ProviderConfig, ServerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

OLLAMA = ("127.0.0.1", 11434)
_PROBE = 0.5  # s

# Variable that holds the key -> the provider's name, base URL and dialect.
WELL_KNOWN: dict[str, tuple[str, str, DialectName]] = {
    "OPENAI_API_KEY": ("openai", "https://api.openai.com/v1", "openai"),
    "DEEPSEEK_API_KEY": ("deepseek", "https://api.deepseek.com/v1", "openai"),
    "ANTHROPIC_API_KEY": ("anthropic", "https://api.anthropic.com/v1", "anthropic"),
    "GEMINI_API_KEY": ("gemini", "https://generativelanguage.googleapis.com/v1beta", "gemini"),
    "MISTRAL_API_KEY": ("mistral", "https://api.mistral.ai/v1", "openai"),
    "GROQ_API_KEY": ("groq", "https://api.groq.com/openai/v1", "openai"),
    "OPENROUTER_API_KEY": ("openrouter", "https://openrouter.ai/api/v1", "openai"),
    "TOGETHER_API_KEY": ("together", "https://api.together.xyz/v1", "openai"),
    "XAI_API_KEY": ("xai", "https://api.x.ai/v1", "openai"),
    "CEREBRAS_API_KEY": ("cerebras", "https://api.cerebras.ai/v1", "openai"),
    "CO_API_KEY": ("cohere", "https://api.cohere.com/v2", "cohere"),
    "COHERE_API_KEY": ("cohere", "https://api.cohere.com/v2", "cohere"),
    "PERPLEXITY_API_KEY": ("perplexity", "https://api.perplexity.ai", "openai"),
}


def embedded_config(environ: Mapping[str, str]) -> Config:
    """`demo`, a local Ollama if one answers, and each well-known provider whose key is there."""
    providers = {
        name: ProviderConfig(dialect=dialect, base_url=url, api_key=SecretStr(environ[variable]))
        for variable, (name, url, dialect) in WELL_KNOWN.items()
        if environ.get(variable, "").strip()
    }
    if ollama_answers(*OLLAMA):
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
