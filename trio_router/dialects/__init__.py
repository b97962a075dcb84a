"""What bytes mean.  Sans-IO.  This file is the only place that knows all dialects.

What is known of a dialect is the dialect's own to say (`base.Dialect`, `base.ClientDialect`): here they
are collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic import AnthropicDialect, MessagesClient
from trio_router.dialects.cohere import CohereDialect
from trio_router.dialects.completions import CompletionsClient
from trio_router.dialects.gemini import GeminiDialect
from trio_router.dialects.ollama.dialect import OllamaDialect
from trio_router.dialects.openai.dialect import AzureDialect, OpenAIDialect
from trio_router.dialects.openai.listing import OpenAIListing
from trio_router.dialects.responses import ResponsesClient

if TYPE_CHECKING:
    from trio_router.dialects.base import ClientDialect, Dialect, ModelTeller

# Of upstreams, by name.
_UPSTREAMS: tuple[Dialect, ...] = (
    OpenAIDialect(),
    AzureDialect(),
    AnthropicDialect(),
    GeminiDialect(),
    CohereDialect(),
    OllamaDialect(),
)
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _UPSTREAMS}

# Of clients of other APIs than the hub's, by the path that they ask.
_CLIENTS: tuple[ClientDialect, ...] = (MessagesClient(), CompletionsClient(), ResponsesClient())
CLIENTS: dict[str, ClientDialect] = {client.path: client for client in _CLIENTS}

# How clients are told of models: those of other APIs than OpenAI's by a header that they send.
MODELS: ModelTeller = OpenAIListing()
MODELS_BY_HEADER: dict[bytes, ModelTeller] = {
    client.header: client.models
    for client in _CLIENTS
    if client.header is not None and client.models is not None
}


def recognise(record: dict[str, Any], configured: Dialect) -> Dialect:
    """The dialect that a record of an answer is in, by its shape; if no one knows it, `configured`."""
    if configured.recognises(record):
        return configured
    return next((d for d in DIALECTS.values() if d.recognises(record)), configured)
