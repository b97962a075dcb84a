"""The kinds of provider that people know by name: what is known of each is one entry in `KINDS`.

It is read by the embedded default, by what a provider's configuration leaves open, by traces, by the
command line and for requests that name no provider.  A new OpenAI-compatible provider is a new entry
and nothing else.  Pure values, without IO.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class Kind:
    """What is known of one kind of provider.

    A provider is of a kind by the host in its base URL, however it is called; in traces, and where the
    router itself makes the provider, by its name.
    """

    name: str
    base_url: str = ""  # empty: each customer has another
    dialect: str = "openai"
    variables: tuple[
        str, ...
    ] = ()  # of the environment, that may hold its key; the first set one counts
    hosts: tuple[str, ...] = ()  # that are its too, with all below them, beside the base URL's
    local_address: tuple[str, int] | None = None  # where one on this machine listens
    is_embedded: bool = False  # the router runs it itself if `server` says so under its name

    has_responses: bool = False  # OpenAI's /responses
    has_completions: bool = True  # OpenAI's /completions
    ask_usage: bool = True  # it knows `stream_options.include_usage`
    lenient_end: bool = False  # its streams may just end
    betas: frozenset[str] | None = None  # of `anthropic-beta`, that it takes; None: any
    sells_as: str = ""  # what `model-prices` calls it; empty: it has no prices of it
    tells_cost: bool = False  # in its answers' usage, in dollars
    refuses: frozenset[str] = frozenset()  # fields of a chat request that others take, or pass over
    traced_as: str = ""  # `gen_ai.provider.name` of the semantic conventions; empty: its name

    @cached_property
    def all_hosts(self) -> tuple[str, ...]:
        own = urlsplit(self.base_url).hostname
        return (own, *self.hosts) if own else self.hosts

    def is_at(self, host: str) -> bool:
        return any(host == known or host.endswith(f".{known}") for known in self.all_hosts)

    def key_in(self, environ: Mapping[str, str]) -> str:
        """Its key, which is a secret; empty if there is none."""
        found = (environ[name] for name in self.variables if environ.get(name, "").strip())
        return next(found, "")


_STRICT = frozenset({"top_k", "min_p", "repeat_penalty"})

# In the order in which the embedded default has them.
KINDS: tuple[Kind, ...] = (
    Kind("demo", is_embedded=True),
    Kind(
        "openai",
        "https://api.openai.com/v1",
        variables=("OPENAI_API_KEY",),
        has_responses=True,
        sells_as="openai",
        refuses=_STRICT,
    ),
    Kind(
        "deepseek",
        "https://api.deepseek.com/v1",
        variables=("DEEPSEEK_API_KEY",),
        has_completions=False,
        sells_as="deepseek",
    ),
    Kind(
        "anthropic",
        "https://api.anthropic.com/v1",
        dialect="anthropic",
        variables=("ANTHROPIC_API_KEY",),
        has_completions=False,
        sells_as="anthropic",
        refuses=frozenset({"top_p", "top_k"}),  # its newest models; others take `top_p` alone
    ),
    Kind(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        dialect="gemini",
        variables=("GEMINI_API_KEY",),
        has_completions=False,
        traced_as="gcp.gemini",
        sells_as="google",
    ),
    Kind(
        "mistral",
        "https://api.mistral.ai/v1",
        variables=("MISTRAL_API_KEY",),
        has_completions=False,
        refuses=_STRICT,
        traced_as="mistral_ai",
        sells_as="mistral",
    ),
    Kind(
        "groq",
        "https://api.groq.com/openai/v1",
        variables=("GROQ_API_KEY",),
        has_responses=True,
        has_completions=False,
        refuses=_STRICT,
    ),
    Kind(
        "openrouter",
        "https://openrouter.ai/api/v1",
        variables=("OPENROUTER_API_KEY",),
        has_responses=True,
        tells_cost=True,
    ),
    Kind("together", "https://api.together.xyz/v1", variables=("TOGETHER_API_KEY",)),
    Kind(
        "xai",
        "https://api.x.ai/v1",
        variables=("XAI_API_KEY",),
        has_responses=True,
        traced_as="x_ai",
        sells_as="xai",
    ),
    Kind("cerebras", "https://api.cerebras.ai/v1", variables=("CEREBRAS_API_KEY",)),
    Kind(
        "cohere",
        "https://api.cohere.com/v2",
        dialect="cohere",
        variables=("COHERE_API_KEY", "CO_API_KEY"),
        sells_as="cohere",
    ),
    Kind(
        "perplexity",
        "https://api.perplexity.ai",
        variables=("PERPLEXITY_API_KEY",),
        has_completions=False,
        tells_cost=True,
    ),
    Kind("ollama", dialect="ollama", local_address=("127.0.0.1", 11434)),
    Kind(
        "azure",
        dialect="azure",
        hosts=("openai.azure.com",),
        has_responses=True,
        refuses=_STRICT,
        traced_as="azure.ai.openai",
        sells_as="openai",
    ),
    Kind("bedrock", traced_as="aws.bedrock"),
)
_UNKNOWN = Kind("")


def kind_called(name: str) -> Kind:
    """The kind of that name; if there is none, one of which nothing is known."""
    return next((kind for kind in KINDS if kind.name == name), _UNKNOWN)


def kind_at(base_url: str) -> Kind:
    """The kind that has the URL's host; if there is none, one of which nothing is known."""
    host = urlsplit(base_url).hostname or ""
    return next((kind for kind in KINDS if kind.is_at(host)), _UNKNOWN)


def keyed_kinds(environ: Mapping[str, str]) -> Iterator[tuple[Kind, str]]:
    """The kinds whose key is in the environment, each with that key, which is a secret."""
    for kind in KINDS:
        if kind.base_url and (key := kind.key_in(environ)):
            yield kind, key


def embedded_in(server: Mapping[str, Any]) -> list[str]:
    """The providers that the router runs itself; `server` is that section of a configuration."""
    return [kind.name for kind in KINDS if kind.is_embedded and server.get(kind.name)]


def traced_name(provider: str) -> str:
    """What the semantic conventions call a provider of that name."""
    return kind_called(provider).traced_as or provider
